"""The OpenAI package against a running server: images, streams, edits, variations, videos, errors.

    python openai_client.py http://127.0.0.1:7860
"""

import base64
import io
import sys
import time

import openai
from PIL import Image


def image(data):
    return Image.open(io.BytesIO(base64.b64decode(data.b64_json))).convert("RGB")


def png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    file.name = "image.png"
    file.seek(0)
    return file


def main(address):
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
    names = [model.id for model in client.models.list()]
    assert names[0] == "default", names

    made = client.images.generate(model="gpt-image-1", prompt="red apple", n=2, size="64x64", extra_body={"seed": 7})
    assert len(made.data) == 2 and image(made.data[0]).size == (64, 64)
    again = client.images.generate(model="default", prompt="red apple", extra_body={"seed": 7})
    assert again.data[0].b64_json == made.data[0].b64_json

    events = list(client.images.generate(model="default", prompt="red apple", stream=True, partial_images=3))
    kinds = [event.type for event in events]
    assert kinds == ["image_generation.partial_image"] * 3 + ["image_generation.completed"], kinds

    original = image(made.data[0])
    holed = original.convert("RGBA")
    for x in range(32, 64):
        for y in range(64):
            holed.putpixel((x, y), (0, 0, 0, 0))
    edited = client.images.edit(
        model="default", image=png(original), mask=png(holed), prompt="blue car", extra_body={"keep_original": True}
    )
    edited = image(edited.data[0])
    left = (0, 0, 32, 64)
    assert edited.crop(left).tobytes() == original.crop(left).tobytes()
    assert edited.tobytes() != original.tobytes()

    varied = client.images.create_variation(image=io.BytesIO(base64.b64decode(made.data[0].b64_json)), model="default")
    assert image(varied.data[0]).size == (64, 64)

    video = client.videos.create(model="sprites", prompt="red apple bouncing", extra_body={"seconds": "1"})
    while video.status in ("queued", "in_progress"):
        time.sleep(0.2)
        video = client.videos.retrieve(video.id)
    assert video.status == "completed" and video.progress == 100, video
    assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"
    assert video.id in [one.id for one in client.videos.list()]
    assert client.videos.delete(video.id).deleted

    for ask, kind in [
        (lambda: client.images.generate(model="nope", prompt="x"), openai.BadRequestError),
        (lambda: client.images.generate(model="default", prompt=" "), openai.BadRequestError),
        (lambda: client.videos.retrieve("video_nope"), openai.NotFoundError),
    ]:
        try:
            ask()
        except kind as error:
            assert error.body["message"], error
        else:
            raise AssertionError(f"{kind} expected")
    print("ok")


main(sys.argv[1])
