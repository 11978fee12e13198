#!/usr/bin/env bash
# Makes the Python environment of this package; see --help.
case "${BASH_VERSION-}:${SHELLOPTS-}" in # this must be understood by every shell
    :* | [1-3].* | 4.[0-3].* | *posix*)
        echo "$0: error: a script for bash 4.4 or newer; start it by its name (./NAME), not with sh or zsh" >&2
        exit 1
        ;;
esac

set -euo pipefail

help_message=$(cat <<'EOF'
Usage: tools/setup.sh [options]

Makes a virtual environment in tools/venv with this package and everything it needs. An active
virtual environment (or conda environment) that already satisfies the package is used as it is.
Called again, it does nothing unless setup.py or the commands have changed. About 6 GB of disk.

Options:
  --python PYTHON   Python to build on: a path, or a version such as 3.12 (3.10, 3.11 or 3.12;
                    default: python3, or the newest fitting python3.x on PATH).
  --extras LIST     comma-separated extras of setup.py to install too: mini (speech synthesis of the
                    embedded corpus), dev (tests), ja, ko, wandb. What is there is kept.
  --force true      rebuild tools/venv from nothing.
EOF
)

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="${root}/tools/venv"
python=
extras=
force=false

say() { echo "setup.sh: $*"; }
die() {
    echo "setup.sh: error: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
        -h | --help) echo "${help_message}"; exit 0 ;;
        --python | --extras | --force)
            [ $# -ge 2 ] || die "$1 needs a value"
            declare "${1#--}=$2"
            shift 2
            ;;
        *) die "unknown option $1 (see tools/setup.sh --help)" ;;
    esac
done
case "${force}" in true | false) ;; *) die "--force must be true or false: ${force}" ;; esac
[[ "${extras}" =~ ^[A-Za-z0-9_,-]*$ ]] || die "--extras must be names with commas between: ${extras}"

# What was installed is described by three lines: this checkout, a hash of what setup.py asks for,
# and the extras.
wanted_hash=$(cd "${root}" && {
    cat setup.py
    ls espnet_part/bin
} | sha256sum | cut -d ' ' -f 1)

stamped() { # ENVIRONMENT: does its stamp cover what is wanted?
    local lines=() extra
    [ -f "$1/espnet_part.stamp" ] && [ -x "$1/bin/python" ] || return 1
    mapfile -t lines <"$1/espnet_part.stamp"
    [ "${lines[0]:-}" = "${root}" ] && [ "${lines[1]:-}" = "${wanted_hash}" ] || return 1
    for extra in ${extras//,/ }; do
        [[ ",${lines[2]:-}," == *",${extra},"* ]] || return 1
    done
}

write_stamp() { # ENVIRONMENT EXTRAS
    printf '%s\n' "${root}" "${wanted_hash}" "$2" >"$1/.espnet_part.stamp.$$" 2>/dev/null &&
        mv "$1/.espnet_part.stamp.$$" "$1/espnet_part.stamp"
}

supported() { # PYTHON: does it run, and is it a version that the package supports?
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

satisfied() { # ENVIRONMENT: is the package installed there from here, with all requirements?
    (cd / && PART_ROOT="${root}" PART_EXTRAS="${extras}" "$1/bin/python" - 2>/dev/null) <<'EOF'
import importlib.metadata as metadata
import importlib.util
import os
import sys
from pathlib import Path

from packaging.requirements import Requirement
import setuptools

root = Path(os.environ["PART_ROOT"])
asked = {}
setuptools.setup = lambda **keywords: asked.update(keywords)
exec(compile((root / "setup.py").read_text(), "setup.py", "exec"), {"__file__": str(root / "setup.py")})
lines = list(asked["install_requires"])
for extra in filter(None, os.environ["PART_EXTRAS"].split(",")):
    lines += asked["extras_require"][extra]

def met(requirement, seen):
    if str(requirement) in seen:
        return True
    seen.add(str(requirement))
    try:
        distribution = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        return False
    below = (Requirement(line) for line in distribution.requires or [])
    return all(
        met(child, seen)
        for child in below
        if child.marker is None
        or any(child.marker.evaluate({"extra": e}) for e in ("", *requirement.extras))
    )

seen = set()
spec = importlib.util.find_spec("espnet_part")
here = spec is not None and Path(spec.origin).resolve().parent == root / "espnet_part"
sys.exit(not (here and all(met(Requirement(line), seen) for line in lines)))
EOF
}

if ! "${force}"; then
    for active in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
        if [ -z "${active}" ] || [ "${active}" = "${venv}" ] || [ -n "${python}" ]; then
            continue
        fi
        if stamped "${active}"; then
            say "the active environment ${active} is up to date"
            exit 0
        fi
        if supported "${active}/bin/python" && satisfied "${active}"; then
            if write_stamp "${active}" "${extras}"; then
                say "the active environment ${active} satisfies the package and is used"
                exit 0
            fi
        fi
        say "the active environment ${active} does not satisfy the package; tools/venv is used"
    done
fi

find_python() {
    local candidate
    if [ -n "${python}" ]; then
        for candidate in "${python}" "python${python}"; do
            if supported "${candidate}"; then
                command -v "${candidate}"
                return
            fi
        done
        command -v "${python}" "python${python}" >/dev/null 2>&1 ||
            die "--python ${python}: no such command; install it or give its path"
        die "--python ${python}: must be a Python 3.10, 3.11 or 3.12 that runs"
    fi
    for candidate in python3 python3.12 python3.11 python3.10; do
        if supported "${candidate}"; then
            command -v "${candidate}"
            return
        fi
    done
    command -v python3 >/dev/null 2>&1 ||
        die "python3 is missing; on Debian and Ubuntu: apt-get install python3 python3-venv"
    die "Python 3.10, 3.11 or 3.12 is needed, and python3 is $(python3 -V 2>&1);" \
        "install one and give it with --python"
}

same_python() { # PYTHON: was tools/venv built on this version?
    local version='import sys; print(sys.version_info[:2])'
    [ -x "${venv}/bin/python" ] && [ "$("$1" -c "${version}")" = "$("${venv}/bin/python" -c "${version}")" ]
}

if [ -n "${python}" ]; then
    base_python=$(find_python)
fi
if ! "${force}" && stamped "${venv}" && { [ -z "${python}" ] || same_python "${base_python}"; }; then
    say "tools/venv is up to date"
    exit 0
fi

# Two set-ups at once would write into one environment: the second waits, and then finds it done.
if ! : >>"${root}/tools/.setup.lock" 2>/dev/null; then
    die "${root}/tools cannot be written to: no permission, or the disk is full"
fi
if command -v flock >/dev/null 2>&1; then
    exec 9>>"${root}/tools/.setup.lock"
    if ! flock -n 9; then
        say "another set-up is at work; waiting for it"
        flock 9
        if ! "${force}" && stamped "${venv}" && { [ -z "${python}" ] || same_python "${base_python}"; }; then
            say "tools/venv is up to date"
            exit 0
        fi
    fi
fi
: "${base_python:=$(find_python)}"

log=$(mktemp)
trap 'rm -f "${log}"' EXIT

free_megabytes() { df -Pm "${root}/tools" | awk 'NR == 2 {print $4}'; }

explain() { # WHAT: end with the likely cause of what is in the log
    if grep -qi -e 'no space left' -e 'os error 28' "${log}" || [ "$(free_megabytes)" -lt 200 ]; then
        die "$1 failed: the disk is full; the environment takes about 6 GB under ${root}/tools"
    fi
    if grep -qi -e 'name resolution' -e 'dns error' -e 'connection refused' -e 'timed out' \
        -e 'network is unreachable' -e 'error sending request' -e 'connection error' \
        -e 'failed to establish a new connection' -e 'max retries exceeded' \
        -e 'from versions: none' "${log}"; then
        die "$1 failed: the package registry cannot be reached; check the network, or give a" \
            "mirror with PIP_INDEX_URL and UV_DEFAULT_INDEX"
    fi
    die "$1 failed; the messages above say why"
}

make_venv() {
    local tool=
    if "${base_python}" -m venv "${venv}" >"${log}" 2>&1; then
        return
    fi
    # Debian ships python3 without ensurepip; other tools make an environment without it.
    rm -rf "${venv}"
    if command -v virtualenv >/dev/null 2>&1; then
        tool=virtualenv
        say "python -m venv does not work here; using virtualenv"
        virtualenv --python "${base_python}" "${venv}" >"${log}" 2>&1 && return
    elif "${base_python}" -m virtualenv --version >/dev/null 2>&1; then
        tool=virtualenv
        say "python -m venv does not work here; using virtualenv"
        "${base_python}" -m virtualenv "${venv}" >"${log}" 2>&1 && return
    elif command -v uv >/dev/null 2>&1; then
        tool=uv
        say "python -m venv does not work here; using uv"
        uv venv --seed --python "${base_python}" "${venv}" >"${log}" 2>&1 && return
    fi
    cat "${log}" >&2
    if [ -z "${tool}" ] && ! "${base_python}" -c 'import ensurepip' >/dev/null 2>&1; then
        die "this Python cannot make virtual environments: ensurepip is missing." \
            "On Debian and Ubuntu: apt-get install python3-venv (or virtualenv, or uv)"
    fi
    explain "making the virtual environment"
}

rm -rf "${root}"/tools/.venv.old.* # left when an earlier call was killed here
all_extras="${extras}"
if [ -e "${venv}" ]; then
    if ! "${force}" && [ -f "${venv}/espnet_part.stamp" ] &&
        [ "$(head -n 1 "${venv}/espnet_part.stamp")" = "${root}" ] &&
        { [ -z "${python}" ] || same_python "${base_python}"; }; then
        all_extras=$(sed -n 3p "${venv}/espnet_part.stamp" | tr ',' '\n' |
            { cat; tr ',' '\n' <<<"${extras}"; } | sed '/^$/d' | sort -u | paste -sd ,)
        say "updating tools/venv"
    else
        # No stamp: a call was killed half way, and what it left cannot be trusted.
        say "tools/venv is incomplete or was built for something else; building it anew"
        mv "${venv}" "${root}/tools/.venv.old.$$"
        rm -rf "${root}/tools/.venv.old.$$"
    fi
fi
if [ ! -e "${venv}" ]; then
    if [ "$(free_megabytes)" -lt "${PART_SETUP_MIN_MB:-6000}" ]; then
        die "only $(free_megabytes) MB are free under ${root}/tools; the environment takes about" \
            "6000 (PART_SETUP_MIN_MB=0 to try all the same)"
    fi
    say "making tools/venv with $("${base_python}" -V) (${base_python})"
    make_venv
fi
rm -f "${venv}/espnet_part.stamp"

target=".${all_extras:+[${all_extras}]}"
say "installing ${target} into tools/venv (about 6 GB; a few minutes when nothing is cached)"
cd "${root}"
unset PYTHONPATH PYTHONHOME

run_logged() { "$@" 2>&1 | tee -a "${log}"; }

# ESPnet requires pyworld, which has no wheels and serves only its text-to-speech; PART runs
# without it on a machine that has no compiler.
options=()
include=$("${venv}/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
if ! { command -v c++ || command -v g++ || command -v clang++; } >/dev/null 2>&1 ||
    [ ! -f "${include}/Python.h" ]; then
    say "no C++ compiler or no Python headers here: pyworld, which only ESPnet's text-to-speech needs," \
        "is left out, and pip check will name it (on Debian and Ubuntu, to have it:" \
        "apt-get install g++ python3-dev)"
    echo 'pyworld ; python_version < "3"' >"${venv}/no-compiler.txt"
    options=(--override "${venv}/no-compiler.txt")
fi

# uv resolves in seconds what takes pip minutes, and accepts the metadata of ci_sdr, a requirement
# of espnet that new versions of pip refuse.
index=$("${venv}/bin/python" -m pip config get global.index-url 2>/dev/null || true)
installed=false
if run_logged "${venv}/bin/python" -m pip install --quiet --disable-pip-version-check uv; then
    if UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-${index:-https://pypi.org/simple}}}" \
        run_logged "${venv}/bin/uv" pip install --python "${venv}/bin/python" \
        ${options[@]+"${options[@]}"} -e "${target}"; then
        installed=true
    elif grep -qi -e 'no space left' -e 'os error 28' -e 'dns error' -e 'error sending request' "${log}"; then
        explain "installing the package"
    fi
fi
if ! "${installed}"; then
    say "uv did not work; trying pip, which takes longer"
    run_logged "${venv}/bin/python" -m pip install --quiet --disable-pip-version-check 'pip<24.1' ||
        explain "installing pip"
    run_logged "${venv}/bin/python" -m pip install --disable-pip-version-check -e "${target}" ||
        explain "installing the package"
fi

run_logged "${venv}/bin/python" -m pip check ||
    say "warning: pip check finds the conflicts above"
(cd / && run_logged "${venv}/bin/python" -c "import espnet_part") ||
    die "espnet_part cannot be imported after the installation; the messages above say why"
write_stamp "${venv}" "${all_extras}" || die "${venv} cannot be written to"
say "done: tools/venv is ready (the recipes find it; for the commands part_*: . tools/venv/bin/activate)"
