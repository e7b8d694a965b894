# logged LOG COMMAND...: run the command; what it says is shown and appended to LOG, under a line that says which try this is, when and
# where. Beside LOG lie, under its name with a dot before: the log once more, and what Snakemake is to know of the try (tries.smk).
# - Exit 2, a user's mistake: a try after it in the same run of Snakemake ends at once with the same message, as long as no file that the
#   command names has changed: retries are for what a retry can help.
# - Exit 75, stopped in time and saved: in a SLURM job of its own (ORBIT2_REQUEUE) the job goes back to the queue, unless somebody asked for
#   the stop. Snakemake waits on, and counts nothing. Where that is refused, Snakemake submits it again.
# - The second slice in a row that came no step further has failed.
# - Anything else has failed.
logged() {
    local log=$1 code=0 kept idle=no command killed
    shift
    command=$*
    mkdir -p "$(dirname "$log")"
    kept=$(dirname "$log")/.$(basename "$log")  # a second name: Snakemake removes the log of the try before
    if [ -e "$kept" ]; then
        ln -f "$kept" "$log"
    else
        rm -f "$log"
        touch "$log"
        ln "$log" "$kept"
    fi
    printf '=== try %d, %s, on %s%s\n' "$(($(grep -c '^=== try ' "$log" 2> /dev/null || true) + 1))" \
        "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" "$(uname -n)" "$(job_said)" >> "$log"
    if mistaken "$kept.refused" "$@"; then
        { tail -n +2 "$kept.refused"; echo "not tried again: nothing that the command names has changed"; } 2>&1 | tee -a -i "$log"
        return 2
    fi
    if [ -e .snakemake/orbit2/stop ]; then
        say "the run is being stopped (orbit2 stop): nothing is begun"
        return 75
    fi
    case $(cat "$kept.slice" 2> /dev/null || true) in *" idle") idle=yes ;; esac
    rm -f "$kept.refused" "$kept.slice" "$kept.stopped"
    killed=$(killed_for_memory)
    trap : TERM HUP USR1  # the command's affair; this shell outlives it, to know how it ended
    ORBIT2_STOPPED=$kept.stopped ORBIT2_BENCHMARK=${log%.log}.tsv "$@" 2>&1 | (trap '' TERM HUP USR1; exec tee -a -i "$log") || code=${PIPESTATUS[0]}
    trap - TERM HUP USR1
    if [ "$code" -eq 2 ] && [ -n "${ORBIT2_RUN:-}" ]; then
        { echo "$ORBIT2_RUN $*"; grep '^error: ' "$log" | tail -n 1 || true; } > "$kept.refused"
    elif [ "$code" -ne 0 ]; then
        stopped || code=$?
    fi
    return "$code"
}

# What follows a command that ended otherwise, by what it said of itself; `logged`'s log, kept, code and idle. A launcher like torchrun makes
# a 1 of 75, but what was said is said. USR1 before anybody listened (138) is the time limit's signal: nothing was done yet.
stopped() {
    local began done of unit why said
    if [ -s "$kept.stopped" ]; then
        read -r began done of unit why < "$kept.stopped"
        said="stopped at $done of $of $unit"
    elif [ "$code" -eq 138 ]; then
        began=0 done=0 why=limit said="the signal before the time limit came before the work began"
    else
        starved
        return "$code"
    fi
    if [ -e .snakemake/orbit2/stop ]; then
        say "$said, for orbit2 stop: the same command goes on there"
        return 75
    elif [ "$why" = asked ]; then
        say "$said, told by a signal to end (scancel, the hard limit of a job's time, Ctrl-C): the next try goes on there"
        return 75
    fi
    if [ "$done" -gt "$began" ]; then
        idle=no
    elif [ "$idle" = yes ]; then
        say "$said, as the time before: it does not come further within a job's time. Counted as a failure: give it more (runtime)"
        return 1
    else
        idle=yes
    fi
    echo "${ORBIT2_RUN:-} $([ "$idle" = yes ] && echo idle || echo further)" > "$kept.slice"
    if [ -n "${ORBIT2_REQUEUE:-}" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
        local job=$SLURM_JOB_ID answer ended=
        [ -z "${SLURM_ARRAY_TASK_ID:-}" ] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID  # the first task's own number is that of all
        trap ended=yes TERM  # SLURM may end this job before its answer is here: what happened is said all the same
        if answer=$(trap '' TERM; exec scontrol requeue "$job" 2>&1); then
            (trap '' TERM; say "$said; SLURM job $job goes back to the queue, and goes on there")
            trap - TERM
            [ -n "$ended" ] || sleep "${ORBIT2_REQUEUE_SECONDS:-5}"  # in which SLURM ends this one; else its Snakemake ends by itself
        else
            trap - TERM
            say "$said; SLURM job $job cannot be requeued ($(echo $answer)): Snakemake submits the rest as another job"
        fi
    else
        say "$said; the next try goes on there"
    fi
    return 75
}

# Who is killed for want of memory says nothing: srun does, or the control group. With the same limit it would end so again: not tried again.
starved() {
    local had=
    awk '/^=== try / { said = "" } { said = said "\n" $0 } END { print said }' "$log" | grep -qE '[Oo]om[-_ ]kill|OOM Killed|Out Of Memory' ||
        [ "$(killed_for_memory)" -gt "$killed" ] || return 0
    [ -z "${SLURM_JOB_ID:-}" ] ||
        had=$(scontrol show job --oneliner "$SLURM_JOB_ID" 2> /dev/null | sed -nE 's/.*MinMemory(Node|CPU)=([^ ]+).*/ (it had \2 a \L\1)/p' | head -n 1)
    say "error: killed for want of memory$had; raise mem_mb of this rule: set-resources in the profile"
    echo "${ORBIT2_RUN:-} $command
error: killed for want of memory$had" > "$kept.refused"
}

# How many processes the kernel has killed in this control group because its memory was at an end (version 1 or 2); 0 where nobody knows.
killed_for_memory() {
    local version1 version2
    version1=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup 2> /dev/null || true)
    version2=$(sed -n 's/^0:://p' /proc/self/cgroup 2> /dev/null || true)
    { cat "/sys/fs/cgroup/memory$version1/memory.oom_control" "/sys/fs/cgroup$version2/memory.events" 2> /dev/null || true; } |
        awk '$1 == "oom_kill" && $2 > most { most = $2 } END { print most + 0 }'
}

# Which job of SLURM this is, and which try of it: ", SLURM job 17, attempt 2, requeued 3 times".
job_said() {
    [ -n "${SLURM_JOB_ID:-}" ] || return 0
    printf ', SLURM job %s' "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID:-} = }$SLURM_JOB_ID"
    [ "${ORBIT2_ATTEMPT:-1}" -le 1 ] || printf ', attempt %s' "$ORBIT2_ATTEMPT"
    [ "${ORBIT2_RESTARTS:-0}" -eq 0 ] || printf ', requeued %s time(s)' "$ORBIT2_RESTARTS"
}

# A line of this script's own, shown and appended.
say() {
    printf '=== %s\n' "$*" | tee -a -i "$log"
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
