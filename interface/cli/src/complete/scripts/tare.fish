# Completion of @PROGRAM@ for fish: the program itself knows what may come next.

function __@PROGRAM@_complete
    set -l words (commandline -opc)
    set -l part (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] "$part" 2>/dev/null)
    set -q lines[1]; or return
    set -l directive (string replace -r '^:' '' -- $lines[-1])
    set -e lines[-1]
    if test (math "bitand($directive, 1)") -ne 0
        return
    end
    # Of `--flag=value` the program proposes the value.
    set -l before ''
    if string match -qr '^--[^=]+=' -- "$part"
        set before (string replace -r '=.*$' '=' -- "$part")
    end
    for line in $lines
        printf '%s%s\n' "$before" "$line"
    end
    if test (math "bitand($directive, 16)") -ne 0
        __fish_complete_directories "$part"
    else if test (math "bitand($directive, 4)") -eq 0; and not set -q lines[1]
        __fish_complete_path "$part"
    end
end

complete -c @PROGRAM@ -e
complete -c @PROGRAM@ -f -a '(__@PROGRAM@_complete)'
