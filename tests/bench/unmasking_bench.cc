// What a server does once the shares have come, in a real session: n clients on the protocol's
// ring, a tenth gone after sharing, gamma .05, delta .10. Clients are real but for their
// signatures, which are hashes; they mask with every neighbour, so the sum is checked against the
// plain one. Beside it, in the same run and with as many threads: AES-256 over as many elements in
// registers, and OpenSSL's into a small buffer, nothing added anywhere. Prints JSON lines. Not a
// test.
//   unmasking_bench [clients=1000] [elements=1048576] [threads=1] [repeats=3] [liars=20]
#include <openssl/evp.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "common/random.h"
#include "privacy/crypto/x25519.h"
#include "privacy/secagg/shared/transcript.h"
#include "tests/bench/aes_limit.h"
#include "tests/unit/privacy/secagg_machines/cohort.h"

namespace rivulet::secagg {
namespace {

double WallSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double TimeOf(const std::function<void()>& work) {
  const double start = WallSeconds();
  work();
  return WallSeconds() - start;
}

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}

double PeakGib() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / (1 << 20);
}

struct Settings {
  uint32_t clients = 1000;
  uint64_t elements = 1 << 20;
  unsigned threads = 1;
  int repeats = 3;
  uint32_t liars = 20;
};

// Parts of 0 .. count - 1, as many as threads.
void OnThreads(unsigned threads, size_t count, const std::function<void(size_t, size_t)>& work) {
  std::vector<std::thread> others;
  for (size_t part = 1; part < threads; ++part) {
    others.emplace_back(work, count * part / threads, count * (part + 1) / threads);
  }
  work(0, count / threads);
  for (std::thread& other : others) other.join();
}

// A session up to its last Unmask message, and those messages by themselves.
struct Collected {
  std::string server;  // before the first of them
  std::vector<std::pair<uint32_t, std::string>> unmask;
  RingVector sum;
  std::vector<uint32_t> survivors;
};

Params ParamsFor(const Settings& settings) {
  Params params = RingParams();
  params.delta_ppm = 100'000;
  params.n_min = settings.clients / 2;
  params.n_max = settings.clients;
  params.complete_max = 32;
  params.d = settings.elements;
  params.b = RingBits(params);
  return params;
}

Collected Collect(Cohort& cohort) {
  Collected collected;
  TolerantRun* self = nullptr;
  TolerantRun run(cohort, [&](Leg leg, uint32_t client, std::string bytes) {
    if (leg == Leg::kUnmask) {
      if (collected.server.empty()) collected.server = self->server.Serialise();
      collected.unmask.emplace_back(client, bytes);
    }
    return bytes;
  });
  self = &run;
  RandomCursor cursor(RandomStream(5, Purpose::kDropOut, 0));
  for (uint32_t gone = 0; gone < cohort.n() / 10;) {
    int& point = run.drop_at[cursor.Bounded(cohort.n())];
    if (point != kStays) continue;
    point = 2;  // after the shares, before the upload
    ++gone;
  }
  const double seconds = TimeOf([&] {
    Must(run.Advertise());
    Must(run.Share());
    Must(run.Collect());
  });
  collected.sum = std::move(run.sum);
  collected.survivors = run.Survivors();
  const GraphRule rule = run.server.rule();
  std::printf(
      "{\"bench\":\"session\",\"clients\":%u,\"survivors\":%zu,\"neighbours\":%u,\"threshold\":%u,"
      "\"all_clients_s\":%.1f}\n",
      cohort.n(), collected.survivors.size(), rule.k, rule.t, seconds);
  return collected;
}

// The server as it stands before the sum, with wrong shares from the first `liars` who answered.
ServerSession Ready(Cohort& cohort, const Collected& collected, uint32_t liars) {
  ServerSession server = *ServerSession::Restore(collected.server, cohort.verifier());
  for (size_t at = 0; at < collected.unmask.size(); ++at) {
    const auto& [client, bytes] = collected.unmask[at];
    Unmask message = *Decode<Unmask>(bytes);
    if (at < liars) {
      for (OwnedShare& share : message.shares) share.value.mutable_bytes()[0] ^= 1;
    }
    Must(server.OnUnmask(cohort.fingerprint(client), message));
  }
  return server;
}

// Masks to take out: of every survivor its own, and of every pair of a survivor and a neighbour
// that is gone, for whose secret the survivor gave a share.
struct Work {
  size_t pairs = 0;
  size_t masks = 0;
};

Work WorkOf(const Collected& collected) {
  Work work;
  for (const auto& [client, bytes] : collected.unmask) {
    const Unmask message = *Decode<Unmask>(bytes);
    for (const OwnedShare& share : message.shares) {
      work.pairs += share.kind == ShareKind::kMaskSecret;
    }
  }
  work.masks = work.pairs + collected.survivors.size();
  return work;
}

// Keys of clients that vanished, agreed once more with their neighbours.
double AgreementSeconds(const Settings& settings, size_t pairs) {
  std::vector<RosterEntry> entries(settings.clients);
  std::vector<Secret32> secrets;
  for (RosterEntry& entry : entries) {
    const X25519Pair pair = X25519PairOf(SystemEntropy().Secret());
    entry.mask_key = pair.public_key;
    secrets.push_back(pair.secret);
  }
  const SessionView view{.sid0 = {}, .sid = {}, .entries = entries};
  return TimeOf([&] {
    std::vector<X25519Key> keys;
    for (uint32_t gone = 0; gone < settings.clients / 10; ++gone) keys.emplace_back(secrets[gone]);
    OnThreads(settings.threads, pairs, [&](size_t begin, size_t end) {
      for (size_t at = begin; at < end; ++at) {
        const auto self = static_cast<uint32_t>(at % keys.size());
        const auto peer = static_cast<uint32_t>((at + 1) % entries.size());
        if (!PairSeed(view, keys[self], self, peer).ok()) std::abort();
      }
    });
  });
}

double ExpansionSeconds(const Settings& settings, const Params& params, size_t masks) {
  std::vector<Mask> all;
  for (size_t at = 0; at < masks; ++at) all.push_back({SystemEntropy().Secret(), at % 2 == 1});
  RingVector vector(params.b, params.length());
  return TimeOf([&] { ApplyMasks(vector, all, settings.threads); });
}

// Seconds for so many bytes of AES-256 that never leave the registers.
double LimitSeconds(unsigned threads, double bytes) {
  const MaskKernel kernel = BestMaskKernel();
  const auto calls = static_cast<size_t>(std::ceil(bytes / LimitBytes(kernel)));
  const double seconds = TimeOf([&] {
    OnThreads(threads, calls, [&](size_t begin, size_t end) {
      for (size_t call = begin; call < end; ++call) RunLimit(kernel);
    });
  });
  return seconds * bytes / (static_cast<double>(calls) * LimitBytes(kernel));
}

// Every seed's keystream by OpenSSL, into 16 KiB that are written over.
double OpensslSeconds(unsigned threads, size_t masks, size_t bytes) {
  return TimeOf([&] {
    OnThreads(threads, masks, [&](size_t begin, size_t end) {
      std::vector<uint8_t> buffer(1 << 14);
      const std::vector<uint8_t> iv(16);
      EVP_CIPHER_CTX* const cipher = EVP_CIPHER_CTX_new();
      for (size_t at = begin; at < end; ++at) {
        const Secret32 seed = SystemEntropy().Secret();
        EVP_EncryptInit_ex(cipher, EVP_aes_256_ctr(), nullptr, seed.bytes().data(), iv.data());
        for (size_t done = 0; done < bytes;) {
          const size_t now = std::min(buffer.size(), bytes - done);
          int made = 0;
          EVP_EncryptUpdate(cipher, buffer.data(), &made, buffer.data(), static_cast<int>(now));
          done += now;
        }
      }
      EVP_CIPHER_CTX_free(cipher);
    });
  });
}

// The parts are timed by themselves, all in turn, so that each sees the same state of the machine.
void PrintUnmasking(const Settings& settings, Cohort& cohort, const Collected& collected,
                    uint32_t liars, const std::vector<int64_t>& wanted) {
  const Params& params = cohort.params();
  const Work work = WorkOf(collected);
  const size_t bytes = params.length() * WordBytes(params.b);
  double rebuild = 1e30, finish = 1e30, agree = 1e30, expand = 1e30, limit = 1e30, openssl = 1e30;
  size_t blamed = 0;
  const auto keep = [](double& best, double seconds) { best = std::min(best, seconds); };
  for (int repeat = 0; repeat < settings.repeats; ++repeat) {
    ServerSession server = Ready(cohort, collected, liars);
    keep(rebuild, TimeOf([&] { Must(server.Reconstruct()); }));
    blamed = server.blame().holders.size();
    absl::StatusOr<RingVector> sum;
    keep(finish, TimeOf([&] { sum = server.Finish(collected.sum, settings.threads); }));
    Must(sum.status());
    if (ValuesOf(*sum) != wanted) Must(absl::InternalError("not the plain sum"));
    keep(agree, AgreementSeconds(settings, work.pairs));
    keep(expand, ExpansionSeconds(settings, params, work.masks));
    keep(limit, LimitSeconds(settings.threads, static_cast<double>(work.masks * bytes)));
    keep(openssl, OpensslSeconds(settings.threads, work.masks, bytes));
  }
  std::printf(
      "{\"bench\":\"server_unmasking\",\"clients\":%u,\"elements\":%llu,\"bits\":%d,\"threads\":%u,"
      "\"liars\":%u,\"blamed\":%zu,\"masks\":%zu,\"agreements\":%zu,\"unmasking_s\":%.3f,"
      "\"of_it_shamir_s\":%.3f,\"key_agreement_s\":%.3f,\"expansion_s\":%.3f,\"rest_s\":%.3f,"
      "\"kernel\":\"%s\",\"in_register_aes256_s\":%.3f,\"ratio\":%.2f,\"openssl_aes256_s\":%.3f,"
      "\"ratio_openssl\":%.2f,\"peak_gib\":%.2f}\n",
      cohort.n(), static_cast<unsigned long long>(params.d), params.b, settings.threads, liars,
      blamed, work.masks, work.pairs, rebuild + finish, rebuild, agree, expand,
      finish - agree - expand, NameOf(BestMaskKernel()), limit, (rebuild + finish) / limit, openssl,
      (rebuild + finish) / openssl, PeakGib());
}

// What goes up, beside the fewest bits that hold a sum of values of p bits.
void PrintBytes(const Params& params) {
  const double ours = static_cast<double>(params.packed_bytes()) / static_cast<double>(params.d);
  const double fewest = (params.p + std::ceil(std::log2(params.n_max))) / 8;
  std::printf(
      "{\"bench\":\"bytes_per_coordinate\",\"value_bits\":%d,\"clients\":%u,\"ours\":%.4f,"
      "\"value_and_log_clients\":%.4f,\"ratio\":%.3f}\n",
      params.p, params.n_max, ours, fewest, ours / fewest);
}

void Run(const Settings& settings) {
  const Params params = ParamsFor(settings);
  PrintBytes(params);
  Cohort cohort(settings.clients, params, /*real_signatures=*/false);
  const Collected collected = Collect(cohort);
  const std::vector<int64_t> wanted = cohort.PlainSum(collected.survivors);
  for (const uint32_t liars : {uint32_t{0}, settings.liars}) {
    PrintUnmasking(settings, cohort, collected, liars, wanted);
  }
}

long long Argument(int count, char** arguments, int position, long long absent) {
  return count > position ? std::max(0ll, std::atoll(arguments[position])) : absent;
}

}  // namespace
}  // namespace rivulet::secagg

int main(int count, char** arguments) {
  using rivulet::secagg::Argument;
  rivulet::secagg::Settings settings;
  settings.clients = static_cast<uint32_t>(Argument(count, arguments, 1, 1000));
  settings.elements = static_cast<uint64_t>(Argument(count, arguments, 2, 1 << 20));
  settings.threads = static_cast<unsigned>(Argument(count, arguments, 3, 1));
  settings.repeats = static_cast<int>(Argument(count, arguments, 4, 3));
  settings.liars = static_cast<uint32_t>(Argument(count, arguments, 5, 20));
  rivulet::secagg::Run(settings);
}
