#compdef @PROGRAM@
# Completion of @PROGRAM@ for zsh: the program itself knows what may come next.

_@PROGRAM@() {
    local -a lines entries
    local line directive value
    local -a after
    lines=("${(@f)$("${words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    directive=${lines[-1]#:}
    lines[-1]=()
    if [[ -z $directive ]] || (( directive & 1 )); then
        return 1
    fi
    # Of `--flag=value` only the value is proposed.
    if [[ ${words[CURRENT]} == --*=* ]]; then
        compset -P '*='
    fi
    for line in "${lines[@]}"; do
        [[ -n $line ]] || continue
        value=${line%%$'\t'*}
        value=${value//:/\\:}
        if [[ $line == *$'\t'* ]]; then
            entries+=("$value:${line#*$'\t'}")
        else
            entries+=("$value")
        fi
    done
    if (( directive & 2 )); then
        after=(-S '')
    fi
    if (( ${#entries} )); then
        _describe -V 'completions' entries "${after[@]}" && return 0
    fi
    if (( directive & 16 )); then
        _path_files -/
    elif (( ! (directive & 4) )); then
        _files
    fi
}

if [[ ${funcstack[1]} == _@PROGRAM@ ]]; then
    _@PROGRAM@ "$@"
else
    compdef _@PROGRAM@ @PROGRAM@
fi
