# shellcheck shell=bash
# Sourced by path.sh and tools/test.sh: puts the Python environment that tools/setup.sh prepared on PATH.
# An active environment that tools/setup.sh accepted for this checkout is kept; otherwise tools/venv.

_part_tools="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)"
_part_active=false
for _part_env in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
    if [ -n "${_part_env}" ] && [ -f "${_part_tools}/.active_environments" ] &&
        cut -f 1 "${_part_tools}/.active_environments" | grep -Fxq -- "${_part_env}"; then
        _part_active=true
    fi
done
if ! "${_part_active}" && [ -e "${_part_tools}/venv/bin/activate" ]; then
    # The directory itself, not the link tools/venv: what starts in it ends in it. The lock, which all
    # processes started from here hold, too, keeps a later set-up from deleting it.
    _part_env="$(readlink -f -- "${_part_tools}/venv")"
    if [ -e "${_part_env}/.in_use" ] && command -v flock >/dev/null 2>&1; then
        exec {_part_lock}<"${_part_env}/.in_use"
        flock -sn "${_part_lock}" || true
    fi
    _part_options="$-"
    set +u # activate scripts read variables that may be unset
    # shellcheck disable=SC1091
    . "${_part_env}/bin/activate"
    case "${_part_options}" in *u*) set -u ;; esac
fi
unset _part_tools _part_active _part_env _part_options _part_lock
