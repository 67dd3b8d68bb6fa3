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

# explain WHAT LOG HINT: stop with one line; a full disk, which also swallows the log, is told first.
explain() {
    local free_kb
    free_kb="$(df -Pk . | awk 'NR==2 {print $4}')"
    if [ "${free_kb:-1000000}" -lt 200000 ]; then
        fail "$1: the disk is full ($((free_kb / 1024)) MB free under $PWD). About 1 GB is needed; free some space and start again."
    fi
    fail "$1: $(grep -iE 'error|failed|no space|caused by|no module' "$2" 2>/dev/null | tail -n 1). $3 (details in $2)"
}

# uv reads neither pip's settings nor, by default, the system's certificates: hand them over.
adopt_pip_settings() {
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
    local settings
    settings="$(.venv/bin/python -m pip config list 2>/dev/null || true)"
    pip_setting() { printf '%s\n' "$settings" | sed -n "s/^[a-z:.]*\.$1='\(.*\)'\$/\1/p" | tail -n 1; }
    local index extra links
    index="${PIP_INDEX_URL:-$(pip_setting index-url)}"
    extra="${PIP_EXTRA_INDEX_URL:-$(pip_setting extra-index-url)}"
    links="${PIP_FIND_LINKS:-$(pip_setting find-links)}"
    if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="$index"; fi
    if [ -n "$extra" ] && [ -z "${UV_INDEX:-}${UV_EXTRA_INDEX_URL:-}" ]; then
        export UV_INDEX="$extra"
        # As pip does: any index may serve any package. The hashes of the lock say which file is meant.
        export UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}"
    fi
    if [ -n "$links" ] && [ -z "${UV_FIND_LINKS:-}" ]; then export UV_FIND_LINKS="${links// /,}"; fi
    if [ -n "${PIP_CERT:-}" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE="$PIP_CERT"; fi
}

ensure_uv() {
    local log=var/log/setup.log python
    { mkdir -p var/log && : >>"$log"; } 2>/dev/null ||
        fail "cannot write to $PWD/var. Correct its owner or permissions, or free some space on its disk."
    if ! .venv/bin/python -c '' 2>/dev/null; then
        python="$(find_python)" || exit 1
        "$python" -m venv --clear .venv >"$log" 2>&1 ||
            explain "could not create .venv" "$log" "On Debian and Ubuntu: apt install python3-venv"
    fi
    if [ ! -x .venv/bin/uv ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1' >>"$log" 2>&1 ||
            explain "could not install uv with pip" "$log" "Is a package index reachable? (PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT)"
    fi
    adopt_pip_settings
}

# ensure_venv LOCKFILE: install the locked packages, unless this very lock is in place already.
ensure_venv() {
    local lock="$1" log=var/log/setup.log stamp=.venv/.locked-"$1"
    if cmp -s "$lock" "$stamp" && .venv/bin/python -c '' 2>/dev/null; then return; fi
    ensure_uv
    echo "pasokh: installing $lock …" >&2
    .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --no-deps -r "$lock" >>"$log" 2>&1 ||
        explain "could not install $lock" "$log" "Is a package index reachable? (UV_DEFAULT_INDEX, HTTPS_PROXY, SSL_CERT_FILE)"
    cp "$lock" "$stamp" || explain "could not finish .venv" "$log" ""
    if [ "$lock" = requirements-dev.txt ]; then cp requirements.txt .venv/.locked-requirements.txt; fi
}
