#!/usr/bin/env bash
# Makes the documents' pictures anew: `bash docs/picture.sh [text|html|dashboard]...`, without a word all.
#
# text: docs/report.svg, the report that `treewarden demo` prints on a terminal of 100 columns, in its colours. Needs cargo, script(1) of
#       util-linux, and Python 3. It draws only what was printed: directory, host and time of this machine become
#       fixed ones, and nothing else is changed.
# html: docs/night-light.png and docs/night-dark.png, the top of the HTML report of the sample run that `tests/it/html` tells. Needs cargo
#       and chromium.
# dashboard: docs/dashboard-light.png and docs/dashboard-dark.png, what a real Prometheus answers to the panels of cronjobs/monitoring/dashboard.json
#       over the sample runs of `tests/it/tell/dashboard.rs`, drawn by docs/dashboard.html, because Grafana is no Debian package. Needs cargo,
#       chromium, and Prometheus, which `.ci/run` unpacks.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

text() {
    cargo build --quiet
    unset COLUMNS NO_COLOR
    export TERM=xterm
    script --quiet --return --command "stty cols 100; cargo run --quiet -- demo --at '$scratch/demo' 2>'$scratch/errors'" /dev/null </dev/null >"$scratch/screen" ||
        { cat "$scratch/screen" "$scratch/errors" >&2; exit 1; }
    python3 docs/picture.py "$scratch/demo" <"$scratch/screen" >"$scratch/report.svg"
    mv "$scratch/report.svg" docs/report.svg
}

html() {
    TREEWARDEN_SCREENS=$scratch cargo test --quiet --test it html::browser::it_can_be_drawn_light_dark_and_narrow -- --ignored >"$scratch/errors" ||
        { cat "$scratch/errors" >&2; exit 1; }
    shoot night rich.html 1000,1860
}

dashboard() {
    PATH=$PWD/target/ci/bin:$PATH TREEWARDEN_SCREENS=$scratch cargo test --quiet --test it tell::dashboard:: -- --ignored >"$scratch/errors" ||
        { cat "$scratch/errors" >&2; exit 1; }
    sed -e "/ANSWERS/{r $scratch/dashboard.json" -e 's|/[*]ANSWERS.*||}' docs/dashboard.html >"$scratch/dashboard.html"
    shoot dashboard dashboard.html 1280,1250
}

# shoot PICTURE PAGE WIDTH,HEIGHT: docs/PICTURE-dark.png and -light.png. Chromium knows the schemes as 0 and 1.
shoot() {
    local schemes=(dark light) scheme
    for scheme in 0 1; do
        chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$scratch/profile" --window-size="$3" \
            --blink-settings=preferredColorScheme="$scheme" --screenshot="docs/$1-${schemes[scheme]}.png" "file://$scratch/$2" 2>"$scratch/errors" ||
            { cat "$scratch/errors" >&2; exit 1; }
    done
}

[ $# -gt 0 ] || set -- text html dashboard
for picture in "$@"; do
    case $picture in
    text | html | dashboard) "$picture" ;;
    *) echo "$0: no such picture: $picture; there are text, html and dashboard" >&2; exit 2 ;;
    esac
done
