# shellcheck shell=bash
# Sourced by path.sh and tools/test.sh: puts the Python environment that tools/setup.sh prepared on PATH.
# An active environment that tools/setup.sh accepted for this checkout is kept; otherwise tools/venv.

_part_root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
_part_active=false
for _part_env in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
    if [ -n "${_part_env}" ] && [ -f "${_part_env}/espnet_part.stamp" ] &&
        [ "$(head -n 1 "${_part_env}/espnet_part.stamp")" = "${_part_root}" ]; then
        _part_active=true
    fi
done
if ! "${_part_active}" && [ -f "${_part_root}/tools/venv/espnet_part.stamp" ]; then
    _part_options="$-"
    set +u # activate scripts read variables that may be unset
    # shellcheck disable=SC1091
    . "${_part_root}/tools/venv/bin/activate"
    case "${_part_options}" in *u*) set -u ;; esac
fi
unset _part_root _part_active _part_env _part_options
