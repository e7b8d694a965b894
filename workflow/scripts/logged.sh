# logged LOG COMMAND...: run the command; what it says is shown and appended to LOG, under a line that says which try this is and when.
# A try after a user's mistake (exit 2) in the same run of Snakemake ends at once with the same message, as long as no file that the
# command names has changed: retries are for what a retry can help.
logged() {
    local log=$1 code=0 number kept
    shift
    mkdir -p "$(dirname "$log")"
    kept=$(dirname "$log")/.$(basename "$log")  # a second name: Snakemake removes the log of the try before
    if [ -e "$kept" ]; then
        ln -f "$kept" "$log"
    else
        rm -f "$log"
        touch "$log"
        ln "$log" "$kept"
    fi
    number=$(($(grep -c '^=== try ' "$log" 2> /dev/null || true) + 1))
    printf '=== try %d, %s, on %s\n' "$number" "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" "$(uname -n)" >> "$log"
    if mistaken "$kept.refused" "$@"; then
        { tail -n +2 "$kept.refused"; echo "not tried again: nothing that the command names has changed"; } 2>&1 | tee -a -i "$log"
        return 2
    fi
    rm -f "$kept.refused"
    "$@" 2>&1 | tee -a -i "$log" || code=${PIPESTATUS[0]}
    if [ "$code" -eq 2 ] && [ -n "${ORBIT2_RUN:-}" ]; then
        { echo "$ORBIT2_RUN $*"; grep '^error: ' "$log" | tail -n 1 || true; } > "$kept.refused"
    fi
    return "$code"
}

# Whether MARKER was left by the same command in the same run of Snakemake, and is newer than every file that the command names.
mistaken() {
    local marker=$1 word
    shift
    [ -n "${ORBIT2_RUN:-}" ] && [ -f "$marker" ] && [ "$(head -n 1 "$marker")" = "$ORBIT2_RUN $*" ] || return 1
    for word in "$@"; do
        if [ "${word#*=}" -nt "$marker" ]; then return 1; fi
    done
}
