#!/usr/bin/env bash
# What packaging/try.sh does on the fresh Debian, as root: nothing of it is kept.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
# Slim images leave out manual pages.
rm /etc/dpkg/dpkg.cfg.d/slim
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends bash-completion man-db systemd zsh fish >/dev/null
apt-get install --quiet=2 --yes --no-install-recommends /treewarden.deb >/dev/null

fail() { echo "$1" >&2; exit 1; }
treewarden demo >/demo || fail "$(cat /demo)"
tail -n 4 /demo

# As a login shell does it: the script is loaded when Tab is first pressed.
bash -euc '
    set +u; . /usr/share/bash-completion/bash_completion
    _comp_load treewarden || _completion_loader treewarden || true
    complete -p treewarden' | grep -q _treewarden || fail "bash completes nothing"
zsh -fc 'autoload -Uz compinit; compinit -u; [[ ${_comps[treewarden]} = _treewarden ]]' || fail "zsh completes nothing"
fish -c 'complete -C "treewarden worktree re"' | grep -q ^remove || fail "fish completes nothing"

man --warnings=all treewarden-worktree-add >/page 2>/warnings
if [ -s /warnings ] || ! grep -q '^NAME' /page; then fail "man: $(cat /warnings)"; fi
mandb --quiet
apropos --exact treewarden-run >/dev/null || fail "apropos doesn't know treewarden-run"

# Not started and not enabled: that is for each user to say.
export XDG_RUNTIME_DIR=/run
units=(/usr/lib/systemd/user/treewarden.{service,timer})
found=$(systemd-analyze --user verify "${units[@]}" 2>&1) || fail "units: $found"
[ -z "$found" ] || fail "units: $found"
if find /etc/systemd /root -name 'treewarden*' | grep .; then fail "it was enabled"; fi

apt-get purge --quiet=2 --yes treewarden >/dev/null
left=$(find / -xdev -name '*treewarden*' -not -path '/proc/*' -not -path '/tmp/*' -not -path '/var/cache/man/*' -not -name treewarden.deb)
[ -z "$left" ] || fail "left behind: $left"
echo "the package was installed, used and removed"
