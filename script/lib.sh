# Shared by the scripts beside it: one virtual environment, made and refreshed when the lock changes.
# Sourced with the checkout as the current folder.

fail() { printf 'pasokh: %s\n' "$*" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in "${PASOKH_PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"; return
        fi
    done
    fail "needs Python 3.11 or newer; found $(python3 --version 2>&1 || echo none). Install one, or name it: PASOKH_PYTHON=/path/to/python3.12"
}

# uv reads neither pip's settings nor, by default, the system's certificates: hand them over.
adopt_pip_settings() {
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
    local index extra
    index="${PIP_INDEX_URL:-$(.venv/bin/pip config get global.index-url 2>/dev/null || true)}"
    extra="${PIP_EXTRA_INDEX_URL:-}"
    if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$index"; fi
    if [ -n "$extra" ] && [ -z "${UV_INDEX:-}${UV_EXTRA_INDEX_URL:-}" ]; then export UV_INDEX="$extra"; fi
    if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE="$PIP_CERT"; fi
}

ensure_uv() {
    local log=var/log/setup.log
    mkdir -p var/log 2>/dev/null || fail "cannot write to $PWD/var: $(df -Ph . | awk 'NR==2 {print $4}') free; free some space or fix the folder's permissions"
    if [ ! -x .venv/bin/python ]; then
        "$(find_python)" -m venv .venv >"$log" 2>&1 ||
            fail "could not create .venv: $(tail -n 1 "$log") (on Debian: apt install python3-venv; is the disk full?)"
    fi
    adopt_pip_settings
    if [ ! -x .venv/bin/uv ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1' >>"$log" 2>&1 ||
            fail "could not install uv with pip: $(grep -iE 'error|no space' "$log" | tail -n 1). Is a package index reachable? (PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT; details in $log)"
    fi
}

# ensure_venv LOCKFILE: install the locked packages, unless this very lock is in place already.
# Compiled at once: nine processes start from it, and without bytecode each takes 2.8 s of CPU to import, not 1.1.
ensure_venv() {
    local lock="$1" log=var/log/setup.log stamp=.venv/.locked-"$1"
    ensure_uv
    if [ -f "$stamp" ] && cmp -s "$lock" "$stamp"; then return; fi
    .venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes --no-deps -r "$lock" >>"$log" 2>&1 ||
        fail "could not install $lock: $(grep -iE 'error|failed|no space|caused by' "$log" | tail -n 1). Is a package index reachable and the disk not full? (UV_DEFAULT_INDEX, HTTPS_PROXY, SSL_CERT_FILE; details in $log)"
    cp "$lock" "$stamp"
    if [ "$lock" = requirements-dev.txt ]; then cp requirements.txt .venv/.locked-requirements.txt; fi
}
