"""`--help`: groups, options and settings with the comments of conf/."""

import re
import shutil
import textwrap

from aimonk.cli.catalogue import Option, describe_unknown, read_catalogue, read_defaults

USAGE = """\
python run.py [-m] [GROUP=OPTION] [KEY=VALUE] ...        also: aimonk ..., python -m aimonk ...
  python run.py data=folder data.images=DIR data.labels=FILE       train on your images
  python run.py -m loss=masked,pos_weight optimizer.lr=0.01,0.001  a sweep: every combination
  python run.py mode=infer image=photo.jpg                         attributes of new images
  python run.py mode=compare                                       which run is better?
  python run.py mode=export output=model.onnx                      one file for other programs
  python run.py mode=audit data=folder ...                         can these labels be learned?
  python run.py mode=review data=folder ...                        correct and add labels on a local page
  python run.py mode=import from=coco labels=FILE images=DIR ...   labels of other formats as a file
  python run.py resume=RUN                                         continue an interrupted run
"""
OWN_DATA = ("demo", "folder", "shards")
INTERNAL = re.compile(r"\.(_target_|_partial_)$|^data\.reader\.")  # settings that nobody sets
MORE = "`--help GROUP`, such as `--help loss`: its settings; `--help settings`: these, without a group"


def format_help(words: list[str]) -> str:
    """The overview, or the page of a group, or of the settings without a group.

    Args:
        words: A group, `settings`, or nothing.
    """
    options = read_catalogue()
    width = max(80, shutil.get_terminal_size((100, 40)).columns)
    if not words:
        settings = " ".join(s.key for s in options[0].settings)
        wrapped = textwrap.wrap(settings, width, break_long_words=False)
        return "\n".join([USAGE, *format_groups(options, width), "", *wrapped, MORE])
    if words[0] == "settings":
        return "\n".join(format_option(options[0]))
    word = words[0].split("=")[0]
    own = [option for option in options if option.group == word]
    if not own:
        return f"--help {describe_unknown(word)}"
    return "\n\n".join("\n".join([str(option), *format_option(option)]) for option in own)


def format_groups(options: list[Option], width: int) -> list[str]:
    """A line per option, the default first; comments are cut."""
    lines, defaults = [], read_defaults()
    for group in dict.fromkeys(option.group for option in options if option.group):
        own = [option for option in options if option.group == group]
        own.sort(key=lambda option: option.name != defaults[option.group])
        # formats of labels are many, and chosen by the label file
        named = [option for option in own if group != "data" or option.name in OWN_DATA]
        for option in named:
            head = "" if option is not own[0] else f"{group}="
            lines.append(textwrap.shorten(option.comment, width - 34, placeholder=" ..."))
            lines[-1] = f"{head:>14}{option.name:<20}{lines[-1]}"
        others = " ".join(option.name for option in own if option not in named)
        text = f"other formats: {others}" if others else ""
        lines += [f"{'':14}{line}" for line in textwrap.wrap(text, width - 14)]
    return lines


def format_option(option: Option) -> list[str]:
    """The comment of an option, and its settings with theirs."""
    settings = [s for s in option.settings if not INTERNAL.search(s.key)]
    width = max((len(f"{s.key}={s.default}") for s in settings), default=0) + 2
    lines = [f"  {option.comment}"] if option.comment else []
    return lines + [f"  {f'{s.key}={s.default}':<{width}}{s.comment}".rstrip() for s in settings]
