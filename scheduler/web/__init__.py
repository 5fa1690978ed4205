"""The HTTP interface: parse a request, call one service, render a page."""
