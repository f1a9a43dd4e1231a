# Bash completion for syncline. Install as /usr/share/bash-completion/completions/syncline, or source it.
_syncline() {
	local cur prev command='' options='' i
	cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-*) ;;
		*) command=${COMP_WORDS[i]}; break ;;
		esac
	done
	case $prev in
	-c | --config-path | --config | --sqlite)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	-r | --runner-type)
		mapfile -t COMPREPLY < <(compgen -W "unified api sync" -- "$cur")
		return
		;;
	esac
	# The program knows its commands and options best.
	if [ -z "$command" ]; then
		mapfile -t COMPREPLY < <(compgen -W "--help --version $("${COMP_WORDS[0]}" --help 2>/dev/null | sed -n 's/^  \([a-z-]\{1,\}\) .*/\1/p')" -- "$cur")
		return
	fi
	case $cur in
	-*)
		options=$("${COMP_WORDS[0]}" "$command" --help 2>/dev/null | awk '/^ +-/ {for (i = 1; i <= 2; i++) if ($i ~ /^-/) {sub(/,$/, "", $i); print $i}}')
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		;;
	*)
		case $command in
		config) mapfile -t COMPREPLY < <(compgen -W show -- "$cur") ;;
		migrate) mapfile -t COMPREPLY < <(compgen -W up -- "$cur") ;;
		teardown) mapfile -t COMPREPLY < <(compgen -W TEARDOWN -- "$cur") ;;
		esac
		[ "$command" = help ] && mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" --help 2>/dev/null | sed -n 's/^  \([a-z-]\{1,\}\) .*/\1/p')" -- "$cur")
		[ "$command" = validate ] && mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}
complete -o default -F _syncline syncline
