#!/usr/bin/env bash
# Puts together the root of the image: `root.sh ROOT PACKAGE...`, in a Debian that has these packages. The Containerfile runs it.
#
# That is the packages' own files without documentation, every library that a program among them or treewarden is linked to, and what
# names and TLS need. Whose each file is stays in dpkg's status.d, where scanners look, with its licence.
set -euo pipefail
root=$1
shift
program=/usr/local/bin/treewarden
# git's servers, its mail, and the halves of its older protocols: two thirds of the package.
unused='/git-(daemon|http-backend|http-fetch|http-push|imap-send|instaweb|shell)$|/scalar$'
unread='^/usr/share/(bash-completion|bug|doc|gitweb|info|lintian|locale|man|perl5)/'
files=$(mktemp)

# Links lead into /usr, as in Debian: only what is below it is ever named.
mkdir -p "$root/etc" "$root/tmp" "$root/usr/bin" "$root/usr/lib64" "$root/usr/sbin" "$root/var/lib/dpkg/status.d"
chmod 1777 "$root/tmp"
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$root/$name"; done

for package; do dpkg --listfiles "$package"; done | grep -Ev "$unused|$unread" | while read -r path; do
    if [ ! -d "$path" ]; then echo "$path"; fi
done >"$files"
echo "$program" >>"$files"
printf '/etc/%s\n' nsswitch.conf ssl/certs/ca-certificates.crt >>"$files"
# It fails for what is no program.
{ xargs --max-args 1 ldd <"$files" 2>/dev/null || true; } | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
    echo "$(realpath "$(dirname "$library")")/$(basename "$library")"
    realpath "$library"
done >>"$files"
sed 's,^/,,' "$files" | tar --create --directory / --files-from - | tar --extract --directory "$root"

# One git, not two.
ln -sf ../../bin/git "$root/usr/lib/git-core/git"
# A shell, and the tools that scripts and people expect.
busybox --list | while read -r applet; do
    if [ ! -e "$root/usr/bin/$applet" ]; then ln -s busybox "$root/usr/bin/$applet"; fi
done
# ssh refuses an id without a name. It has no home: what is written goes to /tmp.
echo 'agent:x:1000:1000::/tmp:/bin/sh' >"$root/etc/passwd"
echo 'agent:x:1000:' >"$root/etc/group"

# Not so for what was made when a package was installed.
{ xargs dpkg --search <"$files" 2>/dev/null || true; } | cut -d: -f1 | sort -u | while read -r package; do
    dpkg-query --status "$package" >"$root/var/lib/dpkg/status.d/$package"
    licence=usr/share/doc/$package/copyright
    if [ -e "/$licence" ]; then
        mkdir -p "$root/$(dirname "$licence")"
        cp "/$licence" "$root/$licence"
    fi
done
