"""The pages, by what they show. Views read the request, call services and selectors, and render view-models."""
