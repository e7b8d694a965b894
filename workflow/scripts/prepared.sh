# prepared SCRIPT NODES COMMAND...: what a profile does to a job's nodes first (`prepare_nodes` of its SCRIPT), then the command.
prepared() {
    local nodes=$2
    source "$1" || { echo "error: node_setup of the profile: $1 cannot be read from $PWD" >&2; return 2; }
    shift 2
    prepare_nodes "$nodes"
    "$@"
}
