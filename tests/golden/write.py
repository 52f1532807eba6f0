"""Write the golden file of each version of each group that has none yet: `python tests/golden/write.py`.

A file that is there is never overwritten: changed output needs a version bump, which asks for a new file. Before a version
has ever run anywhere its file may be deleted and written again; say so in the review.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from golden_histories import write_missing  # noqa: E402 - the path comes first

from projections.registry import VERSIONS  # noqa: E402 - as above

if __name__ == "__main__":
    for path, is_new in write_missing(VERSIONS.values()).items():
        print(f"{path.name} written" if is_new else f"{path.name} is there; left as it is")  # noqa: T201 - a script
