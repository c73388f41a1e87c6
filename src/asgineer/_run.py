def run(*args, **kwargs):
    raise NotImplementedError
