"""FastAPI and SQLite, without durability: what crashes is lost. `python -m bench.contenders.plain`.

The message is stored before the model is asked, the reply after it.
"""

from bench.contenders.serving import Message, Model, Options, kept_in, main, serve


async def run(options: Options) -> None:
    """Answer until SIGTERM."""
    model = Model(options.upstream)
    async with kept_in(options.directory) as rows:

        async def answer(message: Message) -> str:
            await rows.add(message.session_id, "user", message.message)
            reply = await model.answer(message.message)
            await rows.add(message.session_id, "assistant", reply)
            return reply

        await serve(answer, options.port)
    await model.aclose()


if __name__ == "__main__":
    main("plain", __doc__, run)
