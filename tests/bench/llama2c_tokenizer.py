#!/usr/bin/env python3
"""Writes tokenizer.json and tokenizer_config.json of a vocabulary in the format of llama2.c (tok512.bin of stories260K).

The file: i32 longest token, then for each token f32 score, i32 length, bytes. It is a SentencePiece BPE with
byte fallback: a pair merges into the token of its joined text, the highest score first. Needs nothing but Python.
usage: llama2c_tokenizer.py tok512.bin FOLDER
"""
import json
import os
import struct
import sys

SPECIAL = ["<unk>", "<s>", "</s>"]


def read_tokens(path):
    data = open(path, "rb").read()
    tokens, at = [], 4
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at)
        at += 8 + length
        tokens.append((data[at - length:at].decode("utf-8").replace(" ", "\u2581"), score))
    return SPECIAL + [text for text, _ in tokens[len(SPECIAL):]], [score for _, score in tokens]


def merges_of(texts, scores):
    ids = {text: i for i, text in enumerate(texts)}
    merges = []
    for i in range(259, len(texts)):  # after the special tokens and 256 bytes
        text = texts[i]
        pairs = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        merges += [(-scores[i], ids[a], ids[b], f"{a} {b}") for a, b in pairs if a in ids and b in ids]
    return [pair for *_, pair in sorted(merges)]


def main():
    texts, scores = read_tokens(sys.argv[1])
    added = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, text in enumerate(SPECIAL)]
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    template = {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                         {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    decoders = [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    json.dump({"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
               "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, space]},
               "pre_tokenizer": None, "post_processor": template,
               "decoder": {"type": "Sequence", "decoders": decoders},
               "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                         "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
                         "vocab": {text: i for i, text in enumerate(texts)}, "merges": merges_of(texts, scores)}},
              open(os.path.join(sys.argv[2], "tokenizer.json"), "w"), ensure_ascii=False)
    json.dump({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
              open(os.path.join(sys.argv[2], "tokenizer_config.json"), "w"))


main()
