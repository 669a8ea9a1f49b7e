"""Print tools/constraints.txt: the version of every third-party package in the environment that runs this.

.venv/bin/python tools/freeze_constraints.py > tools/constraints.txt
"""

from importlib.metadata import distributions

OURS = "dinocell"
SKIPPED = {"pip"}


def main() -> None:
    pins = {}
    for distribution in distributions():
        name = distribution.metadata["Name"].lower().replace("_", "-")
        if not name.startswith(OURS) and name not in SKIPPED:
            # A local version (2.13.0+cpu) names one build; the pin names the release.
            pins[name] = distribution.version.split("+")[0]
    print("# What CI installs; made by tools/freeze_constraints.py.")
    for name, version in sorted(pins.items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
