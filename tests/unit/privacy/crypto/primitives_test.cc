#include <gtest/gtest.h>
#include <openssl/rand.h>

#include <new>

#include "common/io/sha256.h"
#include "privacy/crypto/aead.h"
#include "privacy/crypto/cipher.h"
#include "privacy/crypto/ed25519.h"
#include "privacy/crypto/entropy.h"
#include "privacy/crypto/hkdf.h"
#include "privacy/crypto/key.h"
#include "privacy/crypto/x25519.h"
#include "tests/unit/in_child.h"
#include "tests/unit/privacy/kat.h"
#include "tests/unit/privacy/seeded_entropy.h"

namespace rivulet {
namespace {

std::string SecretHex(const Secret32& secret) {
  return HexOf(std::span<const uint8_t>(secret.bytes()));
}

Secret32 Hkdf(const Secret32& ikm, const std::string& salt, const std::string& info) {
  return HkdfSha256(ikm.bytes(), BytesOf(salt), info);
}

TEST(Secret32, IsWipedWhenItDiesAndWhenItIsMovedFrom) {
  alignas(Secret32) unsigned char storage[sizeof(Secret32)];
  auto* secret = new (storage) Secret32(Bytes32{1, 2, 3});
  const Secret32 moved = std::move(*secret);
  EXPECT_EQ(*secret, Secret32());
  EXPECT_EQ(moved, Secret32(Bytes32{1, 2, 3}));
  *secret = moved;
  EXPECT_EQ(*secret, moved);
  secret->~Secret32();
  const volatile unsigned char* bytes = storage;
  for (size_t at = 0; at < sizeof storage; ++at) EXPECT_EQ(bytes[at], 0);
}

// RFC 5869 A.1; its first 32 bytes are ours.
TEST(Hkdf, MatchesTheRfc) {
  const std::string ikm(22, '\x0b');
  const Secret32 out = HkdfSha256(BytesOf(ikm), BytesOf(FromHex("000102030405060708090a0b0c")),
                                  FromHex("f0f1f2f3f4f5f6f7f8f9"));
  EXPECT_EQ(SecretHex(out), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}

// RFC 5869 A.3: no salt, no info.
TEST(Hkdf, TakesEmptySaltAndInfo) {
  const std::string ikm(22, '\x0b');
  EXPECT_EQ(SecretHex(HkdfSha256(BytesOf(ikm), {}, "")),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
}

TEST(KeySchedule, MatchesTheKnownAnswers) {
  const auto& kat = SecaggKat()["key_schedule"];
  const auto hex = [&](const char* key) { return kat[key].get<std::string>(); };
  const X25519Pair alice = X25519PairOf(SecretFromHex(hex("sk_0")));
  const X25519Pair bob = X25519PairOf(SecretFromHex(hex("sk_1")));
  EXPECT_EQ(alice.public_key, Bytes32FromHex(hex("pk_0")));
  EXPECT_EQ(bob.public_key, Bytes32FromHex(hex("pk_1")));
  const auto shared = X25519Key(alice.secret).Shared(bob.public_key);
  ASSERT_TRUE(shared.ok());
  EXPECT_EQ(SecretHex(*shared), hex("shared"));
  EXPECT_EQ(*shared, *X25519Key(bob.secret).Shared(alice.public_key));

  const std::string sid = FromHex(hex("sid"));
  const std::string pk_0 = FromHex(hex("pk_0")), pk_1 = FromHex(hex("pk_1"));
  EXPECT_EQ(SecretHex(Hkdf(*shared, sid, Lp("rvl1/pair-mask") + U32(0) + U32(1) + pk_0 + pk_1)),
            hex("pair_seed_01"));
  EXPECT_EQ(SecretHex(Hkdf(SecretFromHex(hex("b_0")), sid, Lp("rvl1/self-mask") + U32(0))),
            hex("self_seed_0"));
}

// Each direction has its key: what u sealed for v does not open as sent by v.
TEST(KeySchedule, SenderAndReceiverDoNotSwap) {
  const auto& kat = SecaggKat()["key_schedule"];
  const auto hex = [&](const char* key) { return kat[key].get<std::string>(); };
  const std::string sid = FromHex(hex("sid"));
  const std::string pk_0 = FromHex(hex("pk_0")), pk_1 = FromHex(hex("pk_1"));
  const Secret32 shared = SecretFromHex(hex("shared"));
  const Secret32 forth = Hkdf(shared, sid, Lp("rvl1/channel") + U32(0) + U32(1) + pk_0 + pk_1);
  const Secret32 back = Hkdf(shared, sid, Lp("rvl1/channel") + U32(1) + U32(0) + pk_1 + pk_0);
  EXPECT_EQ(SecretHex(forth), hex("channel_0_to_1"));
  EXPECT_EQ(SecretHex(back), hex("channel_1_to_0"));
  const GcmIv iv{};
  const std::string sealed = SealAes256Gcm(forth, iv, "aad", "shares");
  EXPECT_TRUE(OpenAes256Gcm(forth, iv, "aad", sealed).ok());
  EXPECT_FALSE(OpenAes256Gcm(back, iv, "aad", sealed).ok());
}

// Orders 1, 2, 4 and 8 on the curve and its twist, and the two that are not reduced (RFC 7748
// section 6.1 tells to look for the zero result; OpenSSL's derivation does).
TEST(X25519, PointsOfLowOrderAreRefused) {
  const X25519Key own(SecretFromHex(SecaggKat()["key_schedule"]["sk_0"]));
  for (const char* point : {"0000000000000000000000000000000000000000000000000000000000000000",
                            "0100000000000000000000000000000000000000000000000000000000000000",
                            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"}) {
    EXPECT_EQ(own.Shared(Bytes32FromHex(point)).status().code(), absl::StatusCode::kInvalidArgument)
        << point;
  }
  EXPECT_TRUE(own.Shared(Bytes32{9}).ok());
}

TEST(Ed25519, SignsAndVerifiesTheKnownEndorsement) {
  const auto& kat = SecaggKat()["transcript"];
  const std::string message = FromHex(kat["endorse_message"]);
  for (const int client : {0, 1, 3}) {
    const auto& keys = kat["clients"][client];
    const KeyPtr key = Ed25519PrivateKey(SecretFromHex(keys["id_sk"]));
    EXPECT_EQ(*Ed25519RawPublicKey(*key), Bytes32FromHex(keys["id_pk"]));
    Signature signature = SignEd25519(*key, message);
    EXPECT_EQ(HexOf(signature),
              kat["endorse_signatures"][std::to_string(client)].get<std::string>());
    const KeyPtr public_key = Ed25519PublicKey(Bytes32FromHex(keys["id_pk"]));
    EXPECT_TRUE(VerifyEd25519(*public_key, message, signature));
    EXPECT_FALSE(VerifyEd25519(*public_key, message + "x", signature));
    signature[40] ^= 1;
    EXPECT_FALSE(VerifyEd25519(*public_key, message, signature));
  }
}

TEST(Ed25519, AKeyOfAnotherKindVerifiesNothing) {
  const KeyPtr other(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519"));
  EXPECT_FALSE(VerifyEd25519(*other, "message", Signature{}));
  EXPECT_FALSE(Ed25519RawPublicKey(*other).ok());
  EXPECT_EQ(InChild([&] { return int{SignEd25519(*other, "message")[0]}; }), 128 + SIGABRT);
}

TEST(Aes256Gcm, MatchesTheKnownShares) {
  const auto& kat = SecaggKat()["transcript"];
  const std::string sid = FromHex(kat["sid"]);
  for (const auto& each : kat["shares"]["messages"]) {
    const std::string sealed = FromHex(each["ciphertext"]);
    const std::string aad =
        Lp("rvl1/share") + sid + U32(each["from"].get<int>()) + U32(each["to"].get<int>());
    GcmIv iv;
    std::copy_n(sealed.begin(), iv.size(), iv.begin());
    const Secret32 key = SecretFromHex(each["channel_key"]);
    const std::string plain = FromHex(each["plaintext"]);
    EXPECT_EQ(SealAes256Gcm(key, iv, aad, plain), sealed.substr(12));
    EXPECT_EQ(*OpenAes256Gcm(key, iv, aad, sealed.substr(12)), plain);
  }
}

TEST(Aes256Gcm, EveryFlippedBitIsNoticed) {
  const Secret32 key(Bytes32{7});
  const GcmIv iv{1};
  const std::string sealed = SealAes256Gcm(key, iv, "to v", "a share");
  for (size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
    std::string altered = sealed;
    altered[bit / 8] = static_cast<char>(altered[bit / 8] ^ 1 << bit % 8);
    EXPECT_EQ(OpenAes256Gcm(key, iv, "to v", altered).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(OpenAes256Gcm(key, iv, "to w", sealed).ok());
  EXPECT_FALSE(OpenAes256Gcm(key, GcmIv{2}, "to v", sealed).ok());
  EXPECT_FALSE(OpenAes256Gcm(Secret32(Bytes32{8}), iv, "to v", sealed).ok());
  EXPECT_FALSE(OpenAes256Gcm(key, iv, "to v", sealed.substr(0, 15)).ok());
  EXPECT_FALSE(OpenAes256Gcm(key, iv, "to v", "").ok());
}

TEST(Aes256Gcm, AnEmptyTextIsATag) {
  const Secret32 key(Bytes32{7});
  const std::string sealed = SealAes256Gcm(key, GcmIv{}, "", "");
  EXPECT_EQ(sealed.size(), kGcmTagBytes);
  EXPECT_EQ(*OpenAes256Gcm(key, GcmIv{}, "", sealed), "");
}

// NIST SP 800-38A F.5.5: CTR-AES256, the keystream as the first output block shows it.
TEST(Aes256Ctr, MatchesTheStandardAndSeeks) {
  const Secret32 key =
      SecretFromHex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
  const std::string iv = FromHex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
  const std::span<const uint8_t, 16> start(BytesOf(iv).first<16>());
  Aes256Ctr stream(key, start);
  uint8_t whole[48];
  stream.Keystream(whole);
  EXPECT_EQ(HexOf(std::span(whole).first(16)), "0bdf7df1591716335e9a8b15c860c502");
  stream.Seek(start);
  uint8_t pieces[48];
  stream.Keystream(std::span(pieces).first(5));
  stream.Keystream(std::span(pieces).subspan(5));
  EXPECT_EQ(HexOf(pieces), HexOf(whole));
}

int NoBytes(unsigned char*, int) { return 0; }
int OneStatus() { return 1; }

int SecretOfABrokenGenerator() {
  static const RAND_METHOD kBroken = {nullptr, NoBytes, nullptr, nullptr, NoBytes, OneStatus};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // the only way to break it
  RAND_set_rand_method(&kBroken);
#pragma GCC diagnostic pop
  return SystemEntropy().Secret() == Secret32() ? 3 : 4;
}

// A generator that fails ends the process; nothing goes on with what was in memory.
TEST(SystemEntropy, AFailureEndsTheProcess) {
  EXPECT_EQ(InChild(SecretOfABrokenGenerator), 128 + SIGABRT);
}

TEST(SystemEntropy, DoesNotRepeatItself) {
  EXPECT_FALSE(SystemEntropy().Secret() == SystemEntropy().Secret());
  EXPECT_EQ(SeededEntropy(1).Secret(), SeededEntropy(1).Secret());
  EXPECT_FALSE(SeededEntropy(1).Secret() == SeededEntropy(2).Secret());
}

}  // namespace
}  // namespace rivulet
