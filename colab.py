"""For Google Colab, in a first cell of its own: clone this repository to `minidiff`, then `%run minidiff/colab.py`.

It installs what the notebooks need beside what Colab has (its own PyTorch is kept, if it is new enough), goes to the
notebooks' folder, and lets Colab show the controls. Written from Colab's documentation; not tried there yet.
"""

import os
import subprocess
import sys
from importlib import util
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Install, go to notebooks/, and say what to do next."""
    print("installing what the course needs beside what is here: a minute or two")
    # without the lock: its pins would replace what Colab's own packages rely on
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", f"{HERE}[course]"], check=True)
    sys.path.insert(0, str(HERE))  # an installation made just now is not seen by a Python that runs already
    os.chdir(HERE / "notebooks")
    if util.find_spec("google") and util.find_spec("google.colab"):
        from google.colab import output  # type: ignore[import-not-found]

        output.enable_custom_widget_manager()
    print(f"in {Path.cwd()}: run the page's first cell now")


if __name__ == "__main__":
    main()
