"""The page: in the browser alone as a static folder, or with a server behind it."""
