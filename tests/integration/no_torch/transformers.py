raise ImportError("a webhooks worker must not need transformers")
