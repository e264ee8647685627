"""The HTTP contract: types, routes, problems, the OpenAPI document and the web page."""
