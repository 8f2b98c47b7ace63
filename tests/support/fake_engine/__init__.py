"""A fake engine: a real child process that speaks the OpenAI routes and misbehaves on request.

Run it as `python -m tests.support.fake_engine --port N [knobs]`; `--help` lists the knobs, which hold for
the whole process. A prompt may carry triggers, which hold for that request only:

    [[tokens:N]] [[delay-ms:N]] [[prefill-ms:N]] [[tool]] [[empty]] [[no-usage]]   shape of the answer
    [[die]] [[die-first]]       the process exits 9: after some tokens, or before the first byte
    [[cut]] [[cut-first]]       only the connection is aborted
    [[garbage]] [[http500]] [[http400]] [[nodone]] [[stall]] [[stall-first]] [[deaf]]

Answers are a pure function of model and prompt (`answers.words`). Everything that happened is in the
witness log (`witness.read`), and `--gpu FILE` holds a kernel lock while the engine holds memory, so that
two engines that overlap are seen even when one was killed.
"""
