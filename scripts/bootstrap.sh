# shellcheck shell=bash
# Makes .venv ready for the script that sources this file. Needs bash and Python 3.11 or later, nothing else.
#
#   source scripts/bootstrap.sh
#   bootstrap dev                # or: bootstrap dev,benchmarks
#   .venv/bin/python -m ...      # never .venv/bin/<command>: a "#!" line cannot hold a path with spaces
#
# What is installed is this checkout (editable) with the extras asked for, at the versions of requirements.txt.
# A stamp, written last, says for what the folder was made; while it holds, preparing costs one start of Python.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
unset PYTHONHOME PYTHONPATH PYTHONSTARTUP # another installation's modules would be imported into ours
unset PYTHONDONTWRITEBYTECODE # each of the many processes that tests start would compile all it imports
export PYTHONNOUSERSITE=1

say() { printf '%s\n' "$*" >&2; }

# The fingerprint of everything that an installation depends on: the two files, the extras, the interpreter.
_fingerprint() {
    .venv/bin/python -I -S -c '
import hashlib, sys
digest = hashlib.sha256(repr((sys.version, sys.argv[1])).encode())
for name in ("pyproject.toml", "requirements.txt"):
    with open(name, "rb") as file:
        digest.update(hashlib.sha256(file.read()).digest())
print(digest.hexdigest())' "$1" 2>/dev/null
}

# Two lines: the fingerprint, and where the checkout stood. A folder that moved is not ready.
_stamp_of() {
    local fingerprint
    fingerprint=$(_fingerprint "$1") && printf '%s\n%s\n' "$fingerprint" "$root"
}

_is_ready() {
    local wanted
    [ -f ".venv/.ready-$1" ] && [ ! -e .venv/.unfinished ] && wanted=$(_stamp_of "$1") &&
        [ "$wanted" = "$(<".venv/.ready-$1")" ]
}

# Whether packages can go into the .venv that is there; where not, it is made anew.
_is_usable() {
    local stamp
    [ ! -e .venv/.unfinished ] || return 1
    for stamp in .venv/.ready-*; do
        [ ! -f "$stamp" ] || [ "$(tail -n 1 "$stamp")" = "$root" ] || return 1
    done
    .venv/bin/python -I -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)' 2>/dev/null &&
        { _has_uv || .venv/bin/python -I -m pip --version >/dev/null 2>&1; }
}

_has_uv() { command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; }

# Prints the path of the first Python that will do. Each is run: a name on the PATH may be a shim of nothing.
_find_python() {
    local candidate path status needs='venv, ensurepip' lacking=''
    ! _has_uv || needs=sys
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
        status=0
        path=$("$candidate" -I -c "
import sys
if sys.version_info < (3, 11):
    sys.exit(3)
try:
    import $needs
except ImportError:
    sys.exit(4)
print(sys.executable)" 2>/dev/null) || status=$?
        [ "$status" -ne 0 ] || { printf '%s\n' "$path"; return; }
        [ "$status" -ne 4 ] || lacking=$candidate
    done
    if [ -n "$lacking" ]; then
        say "$lacking cannot make virtual environments: its venv or ensurepip module is missing."
        say "Install it (Debian and Ubuntu: apt-get install python3-venv), or install uv and have it on the PATH."
    else
        say "Python 3.11 or later is needed: none of python3, python3.13, python3.12, python3.11 is that."
        say "Install one, or name one: PYTHON=/path/to/python3.12 $0"
    fi
    return 1
}

# Waits until no other run prepares this checkout. The lock is on a file that is there anyway, and the kernel
# takes it back when this shell ends, however it ends: it belongs to descriptor 9, which the caller closes.
_lock() {
    exec 9<"$root/pyproject.toml"
    "$1" -I -c '
import fcntl, sys, time
end = time.monotonic() + 900
told = False
while time.monotonic() < end:
    try:
        fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sys.exit()
    except BlockingIOError:
        if not told:
            print("Another run prepares .venv; waiting for it.", file=sys.stderr)
        told = True
        time.sleep(0.1)
    except OSError:
        sys.exit()  # this file system has no locks
sys.exit("Another run has held .venv for 15 minutes; giving up.")'
}

_make_venv() {
    rm -rf .venv && mkdir .venv && : >.venv/.unfinished || return 1
    if _has_uv; then
        uv venv --quiet --allow-existing --python "$1" .venv
    else
        "$1" -I -m venv .venv
    fi
}

_install() {
    : >.venv/.unfinished
    if _has_uv; then
        uv pip install --quiet --python .venv/bin/python \
            --constraint requirements.txt --build-constraint requirements.txt --editable ".[$1]"
    else # by environment, for pip's build of the package itself is bound by the variables only
        PIP_CONSTRAINT=requirements.txt PIP_BUILD_CONSTRAINT=requirements.txt PIP_USER=0 \
            .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --editable ".[$1]"
    fi
}

# A home folder that is missing or cannot be written must not stop anything, and none is made.
_without_caches() {
    local cache=${XDG_CACHE_HOME:-}
    [ -n "$cache" ] || [ ! -d "${HOME:-}" ] || cache=$HOME/.cache
    if [ -z "$cache" ] || ! { mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null; then
        export PIP_NO_CACHE_DIR=1
        [ -n "${UV_CACHE_DIR:-}" ] || export UV_NO_CACHE=1
    fi
}

# bootstrap EXTRAS: returns when .venv holds this checkout with EXTRAS; fails with a message that says why not.
bootstrap() {
    local extras=$1 python began=$SECONDS
    ! _is_ready "$extras" || return 0
    python=$(_find_python) || return 1
    _lock "$python" || return 1
    if ! _is_ready "$extras"; then # another run may have done it meanwhile
        _without_caches
        say "Preparing .venv with $(_has_uv && echo uv || echo pip); about a minute the first time."
        _is_usable || _make_venv "$python" || return 1
        if ! _install "$extras"; then
            say "Installing failed (see above); the next run starts afresh."
            return 1
        fi
        _stamp_of "$extras" >.venv/.stamp && mv .venv/.stamp ".venv/.ready-$extras" && rm .venv/.unfinished || return 1
        say "Prepared .venv in $((SECONDS - began)) s."
    fi
    exec 9<&-
}
