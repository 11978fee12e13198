#!/usr/bin/env bash
# Runs commands on a Debian as fresh as a new user's; see --help.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

help_message="Usage: tools/fresh_debian.sh SUITE DIRECTORY [COMMAND]

Makes a Debian (trixie: Python 3.13; bookworm: Python 3.11) in DIRECTORY, if there is none yet, with Python
and nothing else: no compiler, no git. Then copies a clean clone of this checkout's HEAD into it and runs
COMMAND (for bash) in the clone as an ordinary user, with this machine's settings of pip, uv and proxies,
and its certificates. Needs root and debootstrap. Ends with 77 where they cannot be had.

  tools/fresh_debian.sh trixie /var/tmp/trixie 'tools/setup.sh && tools/test.sh tests/schedule'"

case "${1:-}" in -h | --help) echo "${help_message}"; exit 0 ;; esac
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    echo "${help_message}" >&2
    exit 2
fi
suite=$1
mkdir -p -- "$2"
place="$(cd -- "$2" && pwd -P)"
command=${3:-true}
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
user=newcomer

skip() {
    echo "fresh_debian.sh: WARNING: NOT RUN on a fresh Debian ${suite}: $*" >&2
    exit 77
}
[ "$(id -u)" -eq 0 ] || skip "it needs root"
command -v unshare >/dev/null 2>&1 || skip "unshare (util-linux) is missing"
# The clone is replaced: not under a command that still runs in it. What COMMAND starts holds the lock, too.
exec 9>"${place}.lock"
if ! flock --nonblock 9; then
    echo "fresh_debian.sh: error: a command still runs in ${place}; give another directory, or wait" >&2
    exit 1
fi
if [ ! -e "${place}/.complete" ]; then
    command -v debootstrap >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap; } >/dev/null 2>&1 ||
        skip "debootstrap cannot be installed"
    chmod 755 "${place}" # it becomes the user's root; mktemp -d makes it root's alone
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
        "${suite}" "${place}" >"${place}.log" 2>&1 || skip "debootstrap failed, see ${place}.log"
    touch "${place}/.complete"
fi
chroot "${place}" id "${user}" >/dev/null 2>&1 ||
    chroot "${place}" useradd --create-home --shell /bin/bash "${user}"
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
    [ ! -e "${file}" ] || cp -L "${file}" "${place}${file}"
done
home="${place}/home/${user}"
mkdir -p "${home}/.config"
for name in pip uv; do
    if [ -d "${HOME}/.config/${name}" ]; then cp -rL "${HOME}/.config/${name}" "${home}/.config/"; fi
done

# What is passed on of this shell: where packages come from, and nothing else of it.
variables=(HOME="/home/${user}" USER="${user}" TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin)
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_CERT PIP_DEFAULT_TIMEOUT UV_DEFAULT_INDEX UV_INDEX_URL \
    SSL_CERT_FILE REQUESTS_CA_BUNDLE http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY \
    OMP_NUM_THREADS PART_SETUP_MIN_MB CI; do
    if [ -n "${!name:-}" ]; then variables+=("${name}=${!name}"); fi
done

clone="${home}/espnet_part"
rm -rf "${clone}.new"
mkdir -p "${clone}.new"
git -C "${root}" archive HEAD | tar -x -C "${clone}.new"
if [ -d "${clone}/tools/venv" ]; then
    # the environment of an earlier call stays; everything else is new
    mkdir -p "${clone}.new/tools"
    mv "${clone}"/tools/venv "${clone}"/tools/.venv-* "${clone}.new/tools/"
fi
rm -rf "${clone}"
mv "${clone}.new" "${clone}"
chroot "${place}" chown -R "${user}:" "/home/${user}"

# A mount namespace of its own: the mounts end with the commands.
export place user command
# shellcheck disable=SC2016
exec unshare --mount --propagation private bash -c '
    mount --bind /proc "${place}/proc"
    mount --rbind /dev "${place}/dev"
    exec chroot --userspec="${user}:${user}" "${place}" \
        /usr/bin/env -i "$@" bash -c "cd ~/espnet_part && ${command}"
' fresh_debian.sh "${variables[@]}"
