// Every BlobStore keeps this contract; a new row at the end joins by itself.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "coordinator/storage/blob_store.h"
#include "tests/unit/in_child.h"
#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

struct BlobStoreKind {
  const char* name;
  std::unique_ptr<BlobStore> (*make)();
};

class BlobStoreContract : public testing::TestWithParam<BlobStoreKind> {
 protected:
  std::unique_ptr<BlobStore> store_ = GetParam().make();
};

// SHA-256 of "abc": FIPS 180-2, appendix B.1.
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST_P(BlobStoreContract, ABlobIsNamedByItsHashAndReadBack) {
  EXPECT_EQ(*store_->Put("abc"), kAbc);
  EXPECT_TRUE(store_->Has(kAbc));
  EXPECT_EQ(*store_->Get(kAbc, 3), "abc");
  EXPECT_EQ(store_->Get(kAbc, 2).status().code(), absl::StatusCode::kOutOfRange);
  const auto list = *store_->List();
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].sha256, kAbc);
  EXPECT_EQ(list[0].bytes, 3u);
}

TEST_P(BlobStoreContract, PuttingTwiceIsPuttingOnce) {
  EXPECT_EQ(*store_->Put("abc"), *store_->Put("abc"));
  EXPECT_EQ(store_->List()->size(), 1u);
}

TEST_P(BlobStoreContract, NothingShowsBeforeCommitNorAfterAnAbandonedWriter) {
  {
    auto writer = *store_->Create(3);
    ASSERT_TRUE(writer->Append(Bytes("abc")).ok());
    EXPECT_FALSE(store_->Has(kAbc));
  }
  EXPECT_TRUE(store_->List()->empty());
}

TEST_P(BlobStoreContract, PiecesMakeTheSameBlobAndCanBeReadBackBefore) {
  auto writer = *store_->Create(10);
  ASSERT_TRUE(writer->Append(Bytes("a")).ok());
  ASSERT_TRUE(writer->Append(Bytes("bc")).ok());
  EXPECT_EQ(writer->size(), 3u);
  const auto reader = *writer->Reread();
  std::string back(2, '\0');
  ASSERT_TRUE(reader->Read(1, std::as_writable_bytes(std::span(back))).ok());
  EXPECT_EQ(back, "bc");
  EXPECT_EQ(*writer->Commit(kAbc), kAbc);
}

// Small enough for one thread, and large enough to be hashed by another one.
TEST_P(BlobStoreContract, PiecesPutTogetherAreTheBlobOfTheirBytes) {
  for (const size_t size : {size_t{0}, size_t{10}, size_t{9} << 20}) {
    std::string all(size, 'x');
    for (size_t at = 0; at < size; at += 4093) all[at] = static_cast<char>(at % 251);
    const std::span<const std::byte> pieces[] = {
        Bytes(all).first(size / 3), {}, Bytes(all).subspan(size / 3)};
    EXPECT_EQ(*store_->PutPieces(pieces), Sha256Hex(all));
    EXPECT_EQ(*store_->Get(Sha256Hex(all), size), all);
  }
}

TEST_P(BlobStoreContract, MoreThanAnnouncedIsRefusedAndTakesNothing) {
  auto writer = *store_->Create(3);
  ASSERT_TRUE(writer->Append(Bytes("ab")).ok());
  EXPECT_EQ(writer->Append(Bytes("cd")).code(), absl::StatusCode::kOutOfRange);
  ASSERT_TRUE(writer->Append(Bytes("c")).ok());
  EXPECT_EQ(*writer->Commit(""), kAbc);
}

TEST_P(BlobStoreContract, AWrongHashIsRefusedNamingBoth) {
  auto writer = *store_->Create(3);
  ASSERT_TRUE(writer->Append(Bytes("abd")).ok());
  const absl::Status status = writer->Commit(kAbc).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find(kAbc), std::string_view::npos);
  EXPECT_EQ(RemedyOf(status), Remedy::kResync);
  writer.reset();
  EXPECT_TRUE(store_->List()->empty());
}

TEST_P(BlobStoreContract, AbsentAndMalformedNamesAreTypedErrors) {
  EXPECT_EQ(store_->Open(kAbc).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Open("../../etc/passwd").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Open(std::string(64, 'A')).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Delete("x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(store_->Has("../x"));
}

TEST_P(BlobStoreContract, AnOpenReaderOutlivesTheDeletion) {
  ASSERT_TRUE(store_->Put("abc").ok());
  const auto reader = *store_->Open(kAbc);
  ASSERT_TRUE(store_->Delete(kAbc).ok());
  EXPECT_TRUE(store_->Delete(kAbc).ok());
  EXPECT_FALSE(store_->Has(kAbc));
  std::string back(3, '\0');
  ASSERT_TRUE(reader->Read(0, std::as_writable_bytes(std::span(back))).ok());
  EXPECT_EQ(back, "abc");
}

TEST_P(BlobStoreContract, ReadingPastTheEndIsRefused) {
  ASSERT_TRUE(store_->Put("abc").ok());
  std::string back(2, '\0');
  EXPECT_EQ((*store_->Open(kAbc))->Read(2, std::as_writable_bytes(std::span(back))).code(),
            absl::StatusCode::kOutOfRange);
}

TEST_P(BlobStoreContract, ManyThreadsMayPutTheSameBlob) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([this] { EXPECT_EQ(*store_->Put("abc"), kAbc); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*store_->Get(kAbc, 3), "abc");
}

bool WantAll(std::string_view) { return true; }
bool WantNone(std::string_view) { return false; }

TEST_P(BlobStoreContract, WhatAWriterKeptIsGoneOnWithUnderItsKey) {
  {
    auto writer = *store_->Resume("job-1", 3);
    EXPECT_EQ(writer->size(), 0u);
    ASSERT_TRUE(writer->Append(Bytes("ab")).ok());
    writer->Keep();
  }
  EXPECT_EQ((*store_->Resume("job-2", 3))->size(), 0u);
  auto writer = *store_->Resume("job-1", 3);
  EXPECT_EQ(writer->size(), 2u);
  EXPECT_EQ(writer->Append(Bytes("cd")).code(), absl::StatusCode::kOutOfRange);
  ASSERT_TRUE(writer->Append(Bytes("c")).ok());
  EXPECT_EQ(*writer->Commit(kAbc), kAbc);
  writer.reset();
  EXPECT_EQ((*store_->Resume("job-1", 3))->size(), 0u);
}

TEST_P(BlobStoreContract, WhatIsNotKeptOrSealedOrTooLongStartsOver) {
  const auto leave = [&](bool keep, bool seal) {
    auto writer = *store_->Resume("k", 3);
    EXPECT_EQ(writer->size(), 0u);
    ASSERT_TRUE(writer->Append(Bytes("abc")).ok());
    if (seal) {
      EXPECT_FALSE(writer->Seal(std::string(64, '0')).ok());
    }
    if (keep) writer->Keep();
  };
  leave(false, false);
  leave(true, true);
  leave(true, false);
  EXPECT_EQ((*store_->Resume("k", 2))->size(), 0u);
}

TEST_P(BlobStoreContract, AKeyHasOneWriterAndTheOtherStartsEmptyAndIsNotKept) {
  auto first = *store_->Resume("k", 9);
  ASSERT_TRUE(first->Append(Bytes("first")).ok());
  {
    auto second = *store_->Resume("k", 9);
    EXPECT_EQ(second->size(), 0u);
    ASSERT_TRUE(second->Append(Bytes("abc")).ok());
    second->Keep();
  }
  ASSERT_TRUE(store_->SweepKept(WantNone).ok());  // not the one that is being written
  first->Keep();
  first.reset();
  EXPECT_EQ((*store_->Resume("k", 9))->size(), 5u);
}

TEST_P(BlobStoreContract, ASweepDropsTheKeysThatAreNotWanted) {
  for (const char* key : {"a-1", "a-2", "b-1"}) {
    auto writer = *store_->Resume(key, 9);
    ASSERT_TRUE(writer->Append(Bytes("abc")).ok());
    writer->Keep();
  }
  ASSERT_TRUE(store_->SweepKept([](std::string_view key) { return key.starts_with("a-"); }).ok());
  ASSERT_TRUE(store_->SweepKept(WantAll).ok());
  EXPECT_EQ((*store_->Resume("a-1", 9))->size(), 3u);
  EXPECT_EQ((*store_->Resume("a-2", 9))->size(), 3u);
  EXPECT_EQ((*store_->Resume("b-1", 9))->size(), 0u);
}

TEST_P(BlobStoreContract, AKeyIsNoPath) {
  for (const char* key : {"", "../x", "a/b", "A", "."}) {
    EXPECT_EQ(store_->Resume(key, 1).status().code(), absl::StatusCode::kInvalidArgument) << key;
  }
}

std::unique_ptr<BlobStore> Directory() { return std::move(*OpenDirectoryBlobStore(Scratch())); }

INSTANTIATE_TEST_SUITE_P(All, BlobStoreContract,
                         testing::Values(BlobStoreKind{"Directory", Directory},
                                         BlobStoreKind{"Memory",
                                                       [] { return MakeMemoryBlobStore(); }}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(MemoryBlobStore, ATrustingOneTakesTheNameItIsToldAndHashesWhereThereIsNone) {
  const auto store = MakeMemoryBlobStore(/*trusting=*/true);
  const auto writer = *store->Create(3);
  ASSERT_TRUE(writer->Append(Bytes("abc")).ok());
  const std::string told(64, '7');
  EXPECT_EQ(*writer->Seal(told), told);
  EXPECT_EQ(writer->Seal(std::string(64, '8')).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(*writer->Commit(told), told);
  EXPECT_TRUE(store->Has(told));
  EXPECT_EQ(store->Get(told, 3).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(*store->Put("abc"), Sha256Hex("abc"));
}

// ---- what only a directory can suffer ----

TEST(DirectoryBlobStore, LeftoversOfADeadUploadAreRemovedAtOpenAndBlobsStay) {
  const fs::path directory = Scratch();
  ASSERT_EQ(InChild([&] {
              auto store = *OpenDirectoryBlobStore(directory);
              (void)store->Put("abc");
              auto writer = *store->Create(100);
              (void)writer->Append(Bytes("half"));
              raise(SIGKILL);
              return 0;
            }),
            128 + SIGKILL);
  EXPECT_FALSE(fs::is_empty(directory / "incoming"));
  const auto store = *OpenDirectoryBlobStore(directory);
  EXPECT_TRUE(fs::is_empty(directory / "incoming"));
  EXPECT_TRUE(store->Has(kAbc));
}

TEST(DirectoryBlobStore, AHalfUploadOutlivesTheProcessThatWasKilledOverIt) {
  const fs::path directory = Scratch();
  ASSERT_EQ(InChild([&] {
              auto store = *OpenDirectoryBlobStore(directory);
              auto writer = *store->Resume("k", 3);
              (void)writer->Append(Bytes("ab"));
              raise(SIGKILL);
              return 0;
            }),
            128 + SIGKILL);
  const auto store = *OpenDirectoryBlobStore(directory);
  auto writer = *store->Resume("k", 3);
  EXPECT_EQ(writer->size(), 2u);
  ASSERT_TRUE(writer->Append(Bytes("c")).ok());
  EXPECT_EQ(*writer->Commit(kAbc), kAbc);
}

// As after a power loss: the length is there, the bytes are not.
TEST(DirectoryBlobStore, BytesThatWereLostMeanwhileAreFoundByTheHash) {
  const fs::path directory = Scratch();
  const auto store = *OpenDirectoryBlobStore(directory);
  std::ofstream(directory / "incoming" / "part-k") << std::string("a\0", 2);
  auto writer = *store->Resume("k", 3);
  EXPECT_EQ(writer->size(), 2u);
  ASSERT_TRUE(writer->Append(Bytes("c")).ok());
  EXPECT_EQ(writer->Seal(kAbc).status().code(), absl::StatusCode::kDataLoss);
  writer.reset();
  EXPECT_TRUE(fs::is_empty(directory / "incoming"));
}

TEST(DirectoryBlobStore, RottenBytesAreNeverServedByGet) {
  const fs::path directory = Scratch();
  const auto store = *OpenDirectoryBlobStore(directory);
  ASSERT_TRUE(store->Put("abc").ok());
  std::ofstream(directory / "blob" / kAbc) << "abd";
  EXPECT_EQ(store->Get(kAbc, 3).status().code(), absl::StatusCode::kDataLoss);
}

TEST(DirectoryBlobStore, RunningOutOfDescriptorsPasses) {
  const fs::path directory = Scratch();
  const auto store = *OpenDirectoryBlobStore(directory);
  ASSERT_TRUE(store->Put("abc").ok());
  EXPECT_EQ(InChild([&] {
              rlimit limit{};
              getrlimit(RLIMIT_NOFILE, &limit);
              limit.rlim_cur = 0;
              setrlimit(RLIMIT_NOFILE, &limit);
              const absl::Status refused = store->Open(kAbc).status();
              if (refused.code() != absl::StatusCode::kResourceExhausted) return 1;
              if (RemedyOf(refused) != Remedy::kRetryLater) return 2;
              limit.rlim_cur = limit.rlim_max;
              setrlimit(RLIMIT_NOFILE, &limit);
              return store->Open(kAbc).ok() ? 0 : 3;
            }),
            0);
}

TEST(DirectoryBlobStore, AFullDiskTakesNothingAndTheWriterGoesOn) {
  bool full = true;
  const auto store = *OpenDirectoryBlobStore(Scratch(), [&](std::string_view step) {
    return full && step == "blob.write" ? Refuse(absl::StatusCode::kResourceExhausted, "disk full")
                                        : absl::OkStatus();
  });
  auto writer = *store->Create(3);
  const absl::Status refused = writer->Append(Bytes("abc"));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RemedyOf(refused), Remedy::kRetryLater);
  EXPECT_EQ(writer->size(), 0u);
  const std::string large(size_t{2} << 20, 'x');
  EXPECT_EQ(store->Put(large).status(), refused);
  EXPECT_TRUE(store->List()->empty());
  full = false;
  EXPECT_EQ(*store->Put(large), Sha256Hex(large));
  ASSERT_TRUE(writer->Append(Bytes("abc")).ok());
  EXPECT_EQ(*writer->Commit(kAbc), kAbc);
}

TEST(DirectoryBlobStore, AFailedFsyncStopsTheProcess) {
  for (const std::string_view bad : {"blob.fsync", "blob.sync-directory"}) {
    const fs::path directory = Scratch();
    EXPECT_EQ(InChild([&] {
                auto store = *OpenDirectoryBlobStore(directory, [&](std::string_view step) {
                  return step == bad ? Refuse(absl::StatusCode::kDataLoss, "EIO")
                                     : absl::OkStatus();
                });
                (void)store->Put("abc");
                return 0;
              }),
              128 + SIGABRT)
        << bad;
  }
}

}  // namespace
}  // namespace rivulet
