"""The `webuiapi` package, a client of A1111's API, against a running server.

    python a1111_client.py http://127.0.0.1:7860
"""

import sys
import urllib.parse

import webuiapi
from PIL import Image


def main(address):
    place = urllib.parse.urlparse(address)
    api = webuiapi.WebUIApi(host=place.hostname, port=place.port, sampler="next-scale", steps=20)
    assert "default" in api.util_get_model_names()
    assert api.get_samplers()[0]["name"] == "next-scale"
    assert api.get_options()["sd_model_checkpoint"] == "default"

    made = api.txt2img(prompt="red apple", negative_prompt="car", seed=7, batch_size=2)
    assert len(made.images) == 2 and made.images[0].size == (64, 64)
    assert made.info["all_seeds"] == [7, 8], made.info
    again = api.txt2img(prompt="red apple", negative_prompt="car", seed=7)
    assert again.image.tobytes() == made.images[0].tobytes()

    changed = api.img2img(images=[made.image], prompt="blue car", denoising_strength=0.5, seed=1)
    assert changed.image.size == (64, 64)

    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    painted = api.img2img(images=[made.image], mask_image=mask, prompt="blue car", seed=1)
    left = (0, 0, 32, 64)
    assert painted.image.convert("RGB").crop(left).tobytes() == made.image.convert("RGB").crop(left).tobytes()

    assert api.png_info(made.image).info.startswith("red apple")
    assert api.get_progress()["progress"] == 0
    api.interrupt()
    print("ok")


main(sys.argv[1])
