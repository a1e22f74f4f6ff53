# Completion of @PROGRAM@ in bash, by `@PROGRAM@ completion bash`.
_@FUNCTION@() {
    # bash splits words at the characters of COMP_WORDBREAKS, such as the colon before a tag: what has no blank between
    # is one word.
    local line=${COMP_LINE:0:COMP_POINT} words=() index gap word prefix
    for ((index = 0; index <= COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        gap=${line%%[! $'\t']*}
        line=${line#"$gap"}
        ((index < COMP_CWORD)) || word=$line
        if [[ -n $gap || $index -eq 0 ]]; then
            words+=("$word")
        else
            words[${#words[@]} - 1]+=$word
        fi
        line=${line#"$word"}
    done
    word=${words[${#words[@]} - 1]}
    # Of the word, only what stands behind the last of these is replaced.
    prefix=
    if [[ $word == *[:=]* && $COMP_WORDBREAKS == *:* ]]; then
        prefix=${word%"${word##*[:=]}"}
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        COMPREPLY+=("$(printf %q "${word#"$prefix"}")")
    done < <("$1" __complete -- "${words[@]:1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _@FUNCTION@ @PROGRAM@
