"""gunicorn settings, worker and error handler, shared by `mxdeliv-app` and `chatmail-hooks`."""
