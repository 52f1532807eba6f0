"""The module that Faust's own command line needs: `faust -A streams.app worker`. The same as `touchline worker`."""

import sys

from streams.assembly import worker_app
from touchline.errors import Misconfigured

try:
    app = worker_app()
except Misconfigured as error:  # Faust's command line would show a traceback and exit with 1
    sys.stderr.write(f"touchline: {error}\n")
    sys.exit(78)
