"""What makes a shell complete `l1jax`'s commands and flags: it asks `l1jax` itself for them."""

COMPLETE = "--complete"  # followed by the words so far, prints what the last one can become

_BASH = """_l1jax() {
    local IFS=$'\\n'
    local words="$(l1jax --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)"
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _l1jax l1jax"""

SCRIPTS = {
    "bash": _BASH,
    "zsh": f"autoload -U +X bashcompinit && bashcompinit\n{_BASH}",
    "fish": "complete -c l1jax -a "
    "'(l1jax --complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'",
}
"""Shell → what is run there once in each session, as `eval "$(l1jax --completion bash)"`."""
