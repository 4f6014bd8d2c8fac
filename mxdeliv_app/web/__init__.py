"""`mxdeliv-app`: all that nginx passes on: `/mxdeliv`, `/new`, autoconfig and pages."""
