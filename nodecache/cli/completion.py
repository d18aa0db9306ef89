"""``nodecache completion``: the script that a shell loads, and names of images for it."""

from __future__ import annotations

import os
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from nodecache.cli.client import Admin
from nodecache.cli.problems import CommandError, fail

#: Seconds that a person waits for a name to be completed.
_PATIENCE: Final = 1.0
#: Names that are offered at most.
_MOST: Final = 200


#: To bash a colon ends a word, as do @ and =, so that click's script knows of nginx:1.27 the end
#: alone. Here the line is given as it stands, and of an answer only what is behind the last of
#: these marks is given back: that is what bash puts in.
_BASH: Final = r"""_nodecache_completion() {
    local IFS=$'\n' line="${COMP_LINE:0:COMP_POINT}" word marks="" completion type value
    local -i place
    IFS=$' \t\n' read -r -a words <<< "$line"
    place=$((${#words[@]} - 1))
    word="${words[place]}"
    if [[ "$line" == *[[:space:]] ]]; then
        place+=1
        word=""
    fi
    [[ "$COMP_WORDBREAKS" == *:* ]] && marks="${word%"${word##*[:=@]}"}"
    COMPREPLY=()
    for completion in $(env COMP_WORDS="$line" COMP_CWORD="$place" \
        _NODECACHE_COMPLETE=bash_complete "$1"); do
        IFS=',' read -r type value <<< "$completion"
        case "$type" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$marks"}") ;;
        esac
    done
}
complete -o nosort -F _nodecache_completion nodecache
"""

#: The mark keeps the lines below it as they are.
_HELP: Final = """Print the completion script of SHELL. It also completes names of images.

\b
bash:  echo 'eval "$(nodecache completion bash)"' >> ~/.bashrc
zsh:   echo 'eval "$(nodecache completion zsh)"' >> ~/.zshrc
fish:  nodecache completion fish > ~/.config/fish/completions/nodecache.fish
"""


@click.command(short_help="Print the completion of a shell.", help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script of ``shell``."""
    if shell == "bash":
        click.echo(_BASH)
        return
    found = get_completion_class(shell)
    if found is None:
        fail(f"no completion for {shell}")
    from nodecache.cli.group import main

    script = found(main, {}, "nodecache", "_NODECACHE_COMPLETE").source()
    # What an option does may have a comma in it.
    click.echo(script.replace('string split ","', 'string split --max 1 ","'))


def images(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """For ``shell_complete`` of an argument: the images of the node, where it answers in time."""
    from nodecache.cli.target import target_of

    given = {name: ctx.params.get(name) for name in ("admin", "data_dir", "config")}
    try:
        target = target_of(**given, environ=dict(os.environ))
        found = Admin(target.admin_url, _PATIENCE).get("/api/v1/images", match=f"{incomplete}*")
        return [CompletionItem(row["name"]) for row in _rows(found)[:_MOST]]
    except (CommandError, KeyError, TypeError):
        return []


def _rows(document: Any) -> list[dict[str, Any]]:
    rows = document["images"]
    return rows if isinstance(rows, list) else []
