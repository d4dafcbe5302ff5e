from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch._inductor.exc import TritonMissing

from smoothcert import models
from smoothcert.errors import UserError
from smoothcert.models.classifier import Classifier
from smoothcert.seeds import derive_seed
from smoothcert.smoothing import backends, noise
from smoothcert.smoothing.sampling import Sampler

SIGMA, SEED, N = 0.5, 3, 250
INDICES = [4, 11, 0, 7, 123, 5, 2, 9]


@pytest.fixture
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def classifier(arch: str) -> Classifier:
    """Return a network with random weights whose votes fall on several classes."""
    channels, size = {"lenet": (1, 28), "resnet50": (3, 224)}.get(arch, (3, 32))
    torch.manual_seed(0)
    network = models.build(
        models.Specification(arch, channels, size, 10, (0.5,) * channels, (0.25,) * channels)
    ).eval()
    last = network.network.get_submodule(network.head)
    few = 64 if size < 100 else 8
    with torch.no_grad():
        logits = network(
            torch.rand(few, channels, size, size) + torch.randn(few, 1, size, size) / 2
        )
        last.bias -= logits.mean(0)
    return network


def images(network: Classifier) -> torch.Tensor:
    specification = network.specification
    shape = (len(INDICES), specification.channels, specification.size, specification.size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("arch", ["lenet", "resnet20", "densenet40", "resnet50"])
def test_logits_are_not_rounded_to_bf16(arch):
    network = classifier(arch)
    names, pixels = list(network.state_dict()), images(network)[:1]
    ours = backends._with_head_in_float32(network)
    assert list(network.state_dict()) == names
    with torch.inference_mode():
        assert torch.equal(ours(pixels), network(pixels))
        with torch.autocast("cpu", torch.bfloat16):
            rounded, full = network(pixels), ours(pixels)
    assert torch.equal(rounded.bfloat16().float(), rounded)
    assert (full.bfloat16().float() != full).float().mean() > 0.5
    assert not torch.equal(full, network(pixels))  # all other layers compute in bf16


@pytest.mark.usefixtures("_two_threads")
@pytest.mark.parametrize(("arch", "rows"), [("lenet", 8), ("resnet20", 3)])
def test_counts_do_not_depend_on_layout(arch, rows, precision, device):
    network = classifier(arch)
    pixels, indices = images(network)[:rows], INDICES[:rows]
    sampler = Sampler(network, SIGMA, SEED, device, precision)
    together = sampler.counts(pixels, indices, "estimate", N)
    assert together.shape == (rows, 10)
    assert together.dtype == torch.int64
    assert (together.sum(1) == N).all()
    assert (together > 0).sum() > rows  # else all layouts would agree by chance
    assert torch.equal(sampler.counts(pixels, indices, "estimate", N), together)
    for shards in (1, 3, 7):
        for shard in range(shards):
            for row in reversed(range(shard, rows, shards)):
                alone = sampler.counts(pixels[[row]], [indices[row]], "estimate", N)
                assert torch.equal(alone[0], together[row])
    torch.set_num_threads(1)
    single = Sampler(network, SIGMA, SEED, device, precision)
    assert torch.equal(single.counts(pixels, indices, "estimate", N), together)


@pytest.mark.parametrize(("precision", "turned"), [("fp32", 0.002), ("auto", 0.03)])
def test_votes_are_those_of_a_plain_loop(precision, turned, device):
    network = classifier("lenet")
    pixels = images(network)[:2]
    sampler = Sampler(network, SIGMA, SEED, device, precision, "torch")
    counts = sampler.counts(pixels, INDICES[:2], "estimate", N)
    size = sampler.batch
    network = network.to(device)  # in bf16 the sampler has moved a copy of its own
    expected = torch.zeros(2, 10, dtype=torch.int64)
    with torch.no_grad():
        for row in range(2):
            for vote in range(N):
                if vote % size == 0:
                    seed = derive_seed(SEED, "certify", INDICES[row], "estimate", vote // size)
                    draws = noise.draw((size, 1, 28, 28), seed, device)
                noisy = SIGMA * draws[vote % size] + pixels[row].to(device)
                expected[row, network(noisy[None]).argmax()] += 1
    # Another batch may round another way, which turns a vote only at a tie.
    assert (counts - expected).abs().sum() / 2 <= turned * expected.sum()


@pytest.mark.parametrize(("precision", "turned"), [("fp32", 0.002), ("auto", 0.03)])
def test_back_ends_agree(precision, turned):
    network = classifier("lenet")
    pixels = images(network)
    cpu = torch.device("cpu")
    counts, expected = (
        Sampler(network, SIGMA, SEED, cpu, *evaluation).counts(pixels, INDICES, "estimate", 1000)
        for evaluation in ((precision, "openvino"), ("fp32", "torch"))
    )
    assert (counts - expected).abs().sum() / 2 <= turned * expected.sum()


@pytest.mark.parametrize(("arch", "votes"), [("densenet40", 40), ("resnet50", 8)])
def test_back_ends_agree_on_deep_networks(arch, votes, monkeypatch):
    for size in ("chunk", "batch"):
        monkeypatch.setattr(backends.OpenVino, size, votes)
    network = classifier(arch)
    pixels = images(network)[:2]
    counts, expected = (
        Sampler(network, SIGMA, SEED, torch.device("cpu"), "fp32", backend).counts(
            pixels, INDICES[:2], "estimate", votes
        )
        for backend in ("openvino", "torch")
    )
    assert (expected > 0).sum() > 4  # else they would agree by chance
    assert (counts - expected).abs().sum() / 2 <= 1


def test_stages_seeds_and_images_have_their_own_noise():
    network = classifier("lenet")
    pixels = images(network)[[0, 0]]
    cpu = torch.device("cpu")
    sampler = Sampler(network, SIGMA, SEED, cpu)
    estimate = sampler.counts(pixels, [0, 1], "estimate", 1000)
    assert not torch.equal(estimate[0], estimate[1])
    assert not torch.equal(sampler.counts(pixels, [0, 1], "choose", 1000), estimate)
    assert not torch.equal(
        Sampler(network, SIGMA, SEED + 1, cpu).counts(pixels, [0, 1], "estimate", 1000), estimate
    )


def test_more_votes_extend_fewer():
    network = classifier("lenet")
    sampler = Sampler(network, SIGMA, SEED, torch.device("cpu"))
    few, many = (sampler.counts(images(network), INDICES, "estimate", n) for n in (130, 250))
    assert (few <= many).all()


SCARCE = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
]


@pytest.mark.parametrize("error", SCARCE)
def test_batch_is_halved_where_memory_runs_out(error, device, monkeypatch, capsys):
    network = classifier("lenet")
    pixels = images(network)
    expected = Sampler(network, SIGMA, SEED, device, "fp32", "torch").counts(
        pixels, INDICES, "estimate", N
    )
    sampler = Sampler(network, SIGMA, SEED, device, "fp32", "torch")
    full = sampler.batch
    classify = sampler._backend._classify

    def scarce(draws, image):
        if len(draws) > full // 4:
            raise error
        return classify(draws, image)

    monkeypatch.setattr(sampler._backend, "_classify", scarce)
    counts = sampler.counts(pixels, INDICES, "estimate", N)
    assert sampler.batch == full // 4
    assert f"batch of {full // 4}" in capsys.readouterr().err
    assert (counts - expected).abs().sum() <= 2  # the noise is the same, rounding may differ


def test_openvino_has_one_batch(monkeypatch):
    sampler = Sampler(classifier("lenet"), SIGMA, SEED, torch.device("cpu"))

    def scarce(*given):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(sampler._backend, "votes", scarce)
    with pytest.raises(UserError, match="out of memory on cpu with batches of 100 noisy copies;"):
        sampler.counts(torch.rand(1, 1, 28, 28), [0], "estimate", N)
    assert sampler.batch == 100


@pytest.mark.parametrize("error", SCARCE)
def test_memory_that_never_suffices_is_an_error(error, monkeypatch):
    sampler = Sampler(classifier("lenet"), SIGMA, SEED, torch.device("cpu"), "fp32", "torch")

    def scarce(draws, image):
        raise error

    monkeypatch.setattr(sampler._backend, "_classify", scarce)
    with pytest.raises(UserError, match="out of memory on cpu with one noisy copy"):
        sampler.counts(torch.rand(1, 1, 28, 28), [0], "estimate", N)


def test_other_errors_are_not_taken_for_memory(monkeypatch):
    sampler = Sampler(classifier("lenet"), SIGMA, SEED, torch.device("cpu"), "fp32", "torch")

    def broken(draws, image):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(sampler._backend, "_classify", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        sampler.counts(torch.rand(1, 1, 28, 28), [0], "estimate", N)


@pytest.mark.usefixtures("_two_threads")
def test_after_ctrl_c_no_thread_begins_another_job(monkeypatch):
    sampler = Sampler(classifier("lenet"), SIGMA, SEED, torch.device("cpu"))
    begun = []

    def interrupted(image, seed, wanted):
        begun.append(seed)
        if len(begun) == 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.02)
        return torch.zeros(wanted, dtype=torch.int64)

    monkeypatch.setattr(sampler._backend, "votes", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            sampler.counts(torch.rand(1, 1, 28, 28), [0], "estimate", 100 * sampler.batch)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(begun) < 50


@pytest.mark.usefixtures("_two_threads")
@pytest.mark.parametrize("failing", [0, 1])
def test_after_an_error_no_thread_begins_another_job(monkeypatch, failing):
    sampler = Sampler(classifier("lenet"), SIGMA, SEED, torch.device("cpu"))
    monkeypatch.setattr(sampler._backend, "streams", 2)
    threads = []

    def votes(image, seed, wanted):
        threads.append(threading.current_thread().name)
        time.sleep(0.01)
        if threads[-1].endswith(f"_{failing}"):
            raise RuntimeError("of one stream")
        return torch.zeros(wanted, dtype=torch.int64)

    monkeypatch.setattr(sampler._backend, "votes", votes)
    with pytest.raises(RuntimeError, match="of one stream"):
        sampler.counts(torch.rand(1, 1, 28, 28), [0], "estimate", 100 * sampler.batch)
    assert len(threads) < 50


@pytest.fixture
def compilations(monkeypatch):
    """Compile a function at most twice, by doing nothing; return what was compiled."""
    graphs = []

    def compiler(graph, _):
        graphs.append(graph)
        return graph.forward

    compile = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, dynamic, options: compile(f, dynamic=dynamic, backend=compiler)
    )
    with torch._dynamo.config.patch(recompile_limit=2):
        yield graphs
    torch.compiler.reset()


def test_each_batch_is_compiled(compilations, monkeypatch):
    sampler = Sampler(classifier("lenet"), SIGMA, SEED, torch.device("cpu"), "fp32", "torch")
    classify = torch.compile(sampler._backend._uncompiled, dynamic=False, options={})

    def scarce(draws, image):
        votes = classify(draws, image)
        if len(draws) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return votes

    monkeypatch.setattr(sampler._backend, "_classify", scarce)
    sampler.counts(torch.rand(1, 1, 28, 28), [0], "estimate", 1)
    assert sampler.batch == 6
    assert len(compilations) == len([100, 50, 25, 12, 6])


def test_each_back_end_is_compiled(compilations, monkeypatch):
    """A GPU that is none: the classifier stays where it is, and so do the images."""
    monkeypatch.setattr(Classifier, "to", lambda self, *_, **__: self)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    for _ in range(4):
        engine = backends.build(classifier("lenet"), SIGMA, torch.device("cuda"), "torch", "fp32")
        engine._classify(torch.zeros(2, 1, 28, 28), torch.rand(1, 28, 28))
    assert len(compilations) == 4


def test_evaluation_is_resolved():
    network = classifier("lenet")
    cpu = torch.device("cpu")
    evaluation = Sampler(network, SIGMA, SEED, cpu).evaluation
    assert evaluation["backend"] == "openvino"
    assert evaluation["precision"] in {"bf16", "fp32"}
    assert evaluation["version"]


def test_precision_that_the_device_lacks_is_an_error():
    with pytest.raises(UserError, match="torch on cpu does not compute in bf16"):
        Sampler(classifier("lenet"), SIGMA, SEED, torch.device("cpu"), "bf16", "torch")


def test_network_that_cannot_be_compiled_is_an_error():
    network = classifier("lenet")

    class Fickle(torch.nn.Module):
        def forward(self, inputs):
            return inputs.flatten(1)[:, :10] if inputs.sum() > 0 else inputs.flatten(1)[:, 10:20]

    network.network = Fickle()
    with pytest.raises(UserError, match=r"OpenVINO cannot compile arch lenet .*use backend torch"):
        Sampler(network, SIGMA, SEED, torch.device("cpu"))
    counts = Sampler(network, SIGMA, SEED, torch.device("cpu"), "auto", "torch").counts(
        torch.rand(1, 1, 28, 28), [0], "estimate", N
    )
    assert counts.sum() == N


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (RuntimeError("Failed to find C compiler.\nPlease specify"), "gcc and python3-dev"),
        (subprocess.CalledProcessError(1, ["gcc", "cuda_utils.c"]), "gcc and python3-dev"),
        (RuntimeError("PTX was compiled for another GPU"), "choose another device"),
        (TritonMissing(None), "choose another device"),
    ],
)
def test_a_compiler_that_fails_is_one_line(error, advice):
    def backend(*_):
        raise error

    cpu = torch.device("cpu")
    engine = backends.build(classifier("lenet"), SIGMA, cpu, "torch", "fp32")
    engine._classify = torch.compile(engine._uncompiled, backend=backend)
    with pytest.raises(UserError, match="torch cannot compile the classifier for cpu") as refusal:
        engine.votes(torch.rand(1, 28, 28), 0, 5)
    assert str(error).splitlines()[0] in str(refusal.value)
    assert advice in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_memory_that_runs_out_while_compiling_is_not_the_compilers_fault():
    def backend(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    sampler = Sampler(classifier("lenet"), SIGMA, SEED, torch.device("cpu"), "fp32", "torch")
    sampler._backend._classify = torch.compile(sampler._backend._uncompiled, backend=backend)
    with pytest.raises(UserError, match="out of memory on cpu with one noisy copy"):
        sampler.counts(torch.rand(1, 1, 28, 28), [0], "estimate", 1)


def test_signals_are_handled_after_several_engines():
    """Several cores of OpenVINO's left a stack for signal handlers that was no longer there."""
    program = """
import signal, subprocess, sys, torch
from smoothcert import models
from smoothcert.smoothing import backends
signal.signal(signal.SIGCHLD, lambda *_: None)
network = models.build(models.Specification("lenet", 1, 28, 10, (0.5,), (0.25,)))
for _ in range(2):
    engine = backends.build(network, 0.5, torch.device("cpu"), "openvino", "auto")
del engine
subprocess.run([sys.executable, "-c", "import time; time.sleep(0.1)"], check=True)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_a_classifier_without_logits_has_no_votes(backend):
    """Its weights are finite, and an argmax of NaN is a class all the same."""
    network = classifier("lenet")
    for weight in network.parameters():
        weight.data.mul_(1e30)
    with pytest.raises(UserError, match=r"logits are not finite, .*lower training\.lr"):
        Sampler(network, SIGMA, SEED, torch.device("cpu"), backend=backend)
