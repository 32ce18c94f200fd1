"""Run when a kernel starts: whoever runs a late cell of a page first is told what to do, not only what is missing.

`course.start` names this file in PYTHONSTARTUP, and `course.notebook.start` installs the same where nobody did.
"""


def install() -> None:
    """Add a note to every NameError of a cell: run the cells above. Does nothing outside IPython."""
    import sys

    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return

    def explain(shell, kind, error, trace, tb_offset=None):
        if kind is not NameError:  # UnboundLocalError is one, too, and has another remedy
            pass
        elif "minidiff.course.notebook" in sys.modules:
            error.add_note(
                "Cells build on one another: run those above first (menu Run > Run All Above Selected Cell)."
            )
        else:
            error.add_note("Run the first cell of this page first: it brings in what the others use (Shift+Enter).")
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    shell.set_custom_exc((NameError,), explain)


if __name__ == "__main__":
    install()
    del install
