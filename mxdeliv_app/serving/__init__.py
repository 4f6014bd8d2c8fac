"""gunicorn settings and worker, and the error handler, shared by `mxdeliv-app` and `chatmail-hooks`."""
