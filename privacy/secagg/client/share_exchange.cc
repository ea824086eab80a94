#include <openssl/crypto.h>

#include "common/io/sha256.h"
#include "privacy/crypto/aead.h"
#include "privacy/secagg/client/client_state.h"
#include "privacy/secagg/shared/bytes.h"
#include "privacy/secagg/shared/checksum.h"
#include "privacy/secagg/shared/mask_generator.h"
#include "privacy/secagg/shared/packing.h"
#include "privacy/secagg/shared/shamir.h"

// The middle of a client's attempt: shares out, shares in, the masked vector.
namespace rivulet::secagg {
namespace {

using Phase = ClientSession::Phase;

void WipeShares(std::vector<Share>& shares) {
  OPENSSL_cleanse(shares.data(), shares.size() * sizeof(Share));
}

// What one member gives another, and how it travels.
struct ShareLetter {
  uint32_t sender = 0;
  uint32_t receiver = 0;
  uint16_t x = 0;
  HeldShares shares;
};

SealedShare Seal(const Bytes32& sid, const Secret32& key, const GcmIv& iv,
                 const ShareLetter& letter) {
  std::string plain = ByteWriter(kSharePlainBytes)
                          .U32(letter.sender)
                          .U32(letter.receiver)
                          .U16(letter.x)
                          .Raw(letter.shares.mask_secret.bytes())
                          .Raw(letter.shares.self_seed.bytes())
                          .Take();
  const std::string sealed =
      SealAes256Gcm(key, iv, ShareAad(sid, letter.sender, letter.receiver), plain);
  OPENSSL_cleanse(plain.data(), plain.size());
  SealedShare out{};
  std::memcpy(out.data(), iv.data(), iv.size());
  std::memcpy(out.data() + iv.size(), sealed.data(), out.size() - iv.size());
  return out;
}

// Nullopt when it does not open, or speaks of others than sender, receiver and x.
std::optional<HeldShares> Open(const Bytes32& sid, const Secret32& key, const SealedShare& sealed,
                               const ShareLetter& expected) {
  ByteReader outer(ViewOf(sealed));
  const GcmIv iv = outer.Array<12>();
  auto plain = OpenAes256Gcm(key, iv, ShareAad(sid, expected.sender, expected.receiver),
                             outer.Raw(outer.left()));
  if (!plain.ok()) return std::nullopt;
  ByteReader in(*plain);
  const bool right = in.U32() == expected.sender;
  const bool addressed = in.U32() == expected.receiver;
  const bool placed = in.U16() == expected.x;
  HeldShares out{.mask_secret = Secret32(in.Array<32>()), .self_seed = Secret32(in.Array<32>())};
  OPENSSL_cleanse(plain->data(), plain->size());
  if (!right || !addressed || !placed || !in.Done()) return std::nullopt;
  return out;
}

// U2 and the ciphertexts that come with it: one for every neighbour in U2, ascending.
absl::Status CheckSharers(const ClientState& state, const Forward& forward) {
  if (forward.u2.n() != state.topology.n() || !forward.u2.Contains(state.self))
    return RefuseFor(Reason::kU2, "this client is not in U2");
  if (forward.u2.Count() < state.params.n_min) {
    return RefuseFor(Reason::kU2, "U2: got " + std::to_string(forward.u2.Count()) +
                                      " members, want at least " +
                                      std::to_string(state.params.n_min));
  }
  for (size_t index = 0; index < state.nonces.nonces.size(); ++index) {
    if (!state.nonces.nonces[index].has_value() && forward.u2.Contains(index))
      return RefuseFor(Reason::kU2, "a member without a nonce is in U2");
  }
  size_t next = 0;
  for (const uint32_t peer : state.topology.NeighboursOf(state.self)) {
    if (!forward.u2.Contains(peer)) continue;
    if (next == forward.shares.size() || forward.shares[next].peer != peer)
      return RefuseFor(Reason::kU2, "not one ciphertext for every neighbour in U2");
    ++next;
  }
  if (next != forward.shares.size())
    return RefuseFor(Reason::kU2, "ciphertexts of others than the neighbours in U2");
  return absl::OkStatus();
}

// The masks of y_u, self mask first. Every neighbour in U2 has one, also when its ciphertext did
// not open: a mask left out on one side is one that nobody may remove.
std::vector<Mask> MasksOf(ClientState& state) {
  std::vector<Mask> masks;
  masks.push_back({.seed = SelfMaskSeed(state.sid, state.self_seed, state.self)});
  for (const uint32_t peer : state.topology.NeighboursOf(state.self)) {
    if (!state.u2.Contains(peer)) continue;
    masks.push_back({.seed = state.pair_seeds[peer], .subtract = peer < state.self});
  }
  return masks;
}

// Channel keys and mask seeds of every neighbour; where a key of low order is found out.
absl::Status AgreeWithNeighbours(ClientState& state) {
  const X25519Key channel(state.channel.secret), mask(state.mask.secret);
  for (const uint32_t peer : state.topology.NeighboursOf(state.self)) {
    auto keys = ChannelKeysOf(state.view(), channel, state.self, peer);
    auto seed = PairSeed(state.view(), mask, state.self, peer);
    if (!keys.ok() || !seed.ok()) {
      return RefuseFor(Reason::kLowOrder,
                       "a public key of member " + std::to_string(peer) + " is of low order");
    }
    state.channel_keys[peer] = *std::move(keys);
    state.pair_seeds[peer] = *std::move(seed);
  }
  return absl::OkStatus();
}

// Keeps the shares that open, notes the others: how many did.
uint32_t OpenShares(ClientState& state, const Forward& forward) {
  uint32_t opened = 0;
  state.failed = FailedSet(forward.u2.n());
  for (const AddressedShare& share : forward.shares) {
    const uint32_t peer = share.peer;
    const ShareLetter expected{
        .sender = peer, .receiver = state.self, .x = *state.topology.HolderX(peer, state.self)};
    const auto held = Open(state.sid, state.channel_keys[peer].incoming, share.sealed, expected);
    if (held.has_value()) {
      state.held[peer] = *held;
      ++opened;
    } else {
      state.failed.Insert(peer);
    }
  }
  return opened;
}

}  // namespace

absl::StatusOr<std::string> ClientSession::DealShares() {
  ClientState& state = *state_;
  const std::vector<uint32_t> holders = state.topology.SharingSetOf(state.self);
  const uint32_t t = state.roster.rule.t;
  RV_RETURN_IF_ERROR(AgreeWithNeighbours(state));
  std::vector<Share> mask_shares = Split(state.mask.secret, holders.size(), t, context_.entropy);
  std::vector<Share> seed_shares = Split(state.self_seed, holders.size(), t, context_.entropy);
  Shares message{.sid = state.sid};
  for (size_t rank = 0; rank < holders.size(); ++rank) {
    const uint32_t peer = holders[rank];
    ShareLetter letter{.sender = state.self, .receiver = peer, .x = mask_shares[rank].x};
    letter.shares = {.mask_secret = Secret32(mask_shares[rank].value),
                     .self_seed = Secret32(seed_shares[rank].value)};
    if (peer == state.self) {
      state.held[peer] = letter.shares;
      continue;
    }
    GcmIv iv{};
    context_.entropy.Fill(iv);
    message.shares.push_back(
        {peer, Seal(state.sid, state.channel_keys[peer].outgoing, iv, letter)});
  }
  WipeShares(mask_shares);
  WipeShares(seed_shares);
  std::string bytes = Encode(message);
  // A second sharing must never be mixed with the first: a session that went on from an older copy
  // of itself ends here.
  RV_RETURN_IF_ERROR(RecordOnce(LedgerTable::kShares, ViewOf(state.sid), ViewOf(Sha256Of(bytes)),
                                Reason::kShareOpen, "shares"));
  state.shares = std::move(bytes);
  state.phase = Phase::kShared;
  return state.shares;
}

absl::Status ClientSession::AcceptForward(const Forward& forward) {
  ClientState& state = *state_;
  if (state.shares.empty()) return OutOfOrder("Forward");
  if (forward.sid != state.sid) return OfAnotherSession("Forward");
  const Bytes32 hash = Sha256Of(Encode(forward));
  if (state.phase != Phase::kShared) {
    if (hash == state.forward_hash) return absl::OkStatus();
    return RefuseFor(Reason::kU2, "a second Forward for one session");
  }
  RV_RETURN_IF_ERROR(CheckSharers(state, forward));
  RV_RETURN_IF_ERROR(
      RecordOnce(LedgerTable::kForward, ViewOf(state.sid), ViewOf(hash), Reason::kU2, "Forward"));
  const uint32_t opened = OpenShares(state, forward);
  if (opened + 1 < state.roster.rule.t) {
    return RefuseFor(Reason::kShareOpen, "opened " + std::to_string(opened) +
                                             " shares, want at least " +
                                             std::to_string(state.roster.rule.t - 1));
  }
  state.u2 = forward.u2;
  state.forward_hash = hash;
  state.channel_keys.clear();
  state.phase = Phase::kForwarded;
  return absl::OkStatus();
}

absl::StatusOr<MaskedUpload> ClientSession::MaskVector(RingVector encoded) {
  ClientState& state = *state_;
  if (state.phase != Phase::kForwarded && state.phase != Phase::kMasked &&
      state.phase != Phase::kEndorsed)
    return OutOfOrder("Mask");
  if (encoded.bits() != state.params.b || encoded.size() != state.params.length()) {
    return Refuse(absl::StatusCode::kInvalidArgument,
                  "vector: got " + std::to_string(encoded.size()) + " elements of " +
                      std::to_string(encoded.bits()) + " bits, want " +
                      std::to_string(state.params.length()) + " of " +
                      std::to_string(state.params.b));
  }
  FillChecksums(state.sid0, state.sid, encoded);
  ApplyMasks(encoded, MasksOf(state), context_.threads);
  MaskedUpload out{.packed = Pack(encoded)};
  const Bytes32 hash = Sha256Of(out.packed);
  RV_ASSIGN_OR_RETURN(
      const std::string sent,
      context_.ledger.PutOnce(LedgerTable::kUpload, ViewOf(state.sid), ViewOf(hash)));
  if (sent != ViewOf(hash)) {
    return Refuse(absl::StatusCode::kAlreadyExists, "vector: this session has masked another one");
  }
  if (state.trailer.empty()) {
    state.trailer = Encode(MaskedTrailer{.sid = state.sid,
                                         .packed_bytes = out.packed.size(),
                                         .packed_sha256 = hash,
                                         .signature = context_.signer.Sign(UploadMessage(
                                             state.sid, state.self, out.packed.size(), hash)),
                                         .failed = state.failed});
    state.phase = Phase::kMasked;
  }
  out.header = Encode(
      MaskedHeader{.sid = state.sid, .index = state.self, .packed_bytes = out.packed.size()});
  out.trailer = state.trailer;
  return out;
}

}  // namespace rivulet::secagg
