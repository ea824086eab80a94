#pragma once

#include <memory>

#include "coordinator/rounds/update_file.h"
#include "coordinator/rounds/upload_check.h"
#include "privacy/secagg/shared/params.h"
#include "privacy/secagg/shared/ring.h"

namespace rivulet {

// An upload under masks: the packed vector, params.packed_bytes() of it, then the encoded
// MaskedTrailer. The check sees length, padding bits and that the trailer's hash is the vector's;
// whose signature it is the session says. `params` must outlive it.
std::unique_ptr<UploadCheck> NewMaskedUploadCheck(const secagg::Params& params,
                                                  uint64_t file_bytes);

// sum += the vector of one stored upload. Errors: DataLoss for another SHA-256 than `sha256`; those
// of the blob.
absl::Status AddMaskedUpload(const BlobStore& blobs, const std::string& sha256,
                             const secagg::Params& params, secagg::RingVector& sum);

}  // namespace rivulet
