"""`mxdeliv-app`, the web application behind nginx: `/mxdeliv`, `/new`, autoconfig and web pages."""
