#compdef @PROGRAM@
# Completion of @PROGRAM@ in zsh, by `@PROGRAM@ completion zsh`.
_@FUNCTION@() {
    local -a found
    found=("${(@f)$("${(Q)words[1]}" __complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    found=("${(@)found%%$'\t'*}")
    # Behind these, the word goes on.
    compadd -S '' -- ${(M)found:#*[/:=]}
    compadd -- ${found:#*[/:=]}
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _@FUNCTION@ "$@"
else
    compdef _@FUNCTION@ @PROGRAM@
fi
