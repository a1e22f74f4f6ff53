# Completion of @PROGRAM@ in fish, by `@PROGRAM@ completion fish`.
function __@FUNCTION@_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token --cut-at-cursor)
    $words[1] __complete -- $words[2..-1] 2>/dev/null
end
complete --command @PROGRAM@ --no-files --arguments '(__@FUNCTION@_complete)'
