"""The module that Faust's own command line needs: `faust -A streams.app worker`. The same as `touchline worker`."""

from streams.assembly import worker_app

app = worker_app()
