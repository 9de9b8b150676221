# Completion of @PROGRAM@ for bash: the program itself knows what may come next.

_@PROGRAM@() {
    # Words as they were typed: bash takes them apart at colons and equal signs.
    local rest=${COMP_LINE:0:COMP_POINT} words=() gap word piece i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        gap=${rest%%[![:space:]]*}
        rest=${rest#"$gap"}
        if ((i == COMP_CWORD)); then
            word=$rest
        fi
        rest=${rest#"$word"}
        if ((i > 0)) && [[ -z $gap ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        piece=$word
    done
    local part=${words[${#words[@]} - 1]} lines directive line value
    # Bash replaces what follows the last colon or equal sign.
    if [[ $piece =~ ^[:=]+$ ]]; then
        piece=
    fi
    local kept=${part%"$piece"}
    mapfile -t lines < <("${words[0]}" __completeNoDesc "${words[@]:1}" 2>/dev/null)
    COMPREPLY=()
    ((${#lines[@]})) || return 0
    directive=${lines[${#lines[@]} - 1]#:}
    unset "lines[${#lines[@]} - 1]"
    if [[ $part == --*=* ]]; then
        kept=${kept#"${part%%=*}="}
        part=${part#*=}
    fi
    if ((directive & 1)); then
        return 0
    fi
    for line in "${lines[@]}"; do
        if [[ $line == "$part"* ]]; then
            COMPREPLY+=("${line#"$kept"}")
        fi
    done
    if ((directive & 2)); then
        compopt -o nospace 2>/dev/null
    fi
    if ((directive & 16)); then
        compopt -o dirnames 2>/dev/null
    elif ! ((directive & 4)); then
        compopt -o default 2>/dev/null
    fi
    return 0
}

complete -F _@PROGRAM@ @PROGRAM@
