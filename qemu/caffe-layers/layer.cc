#include "layer.h"

#include <sstream>

#include "caffe/filler.hpp"

namespace pibench {

Fields::Fields(const caffe::LayerParameter& layer) {
  std::istringstream words(layer.python_param().param_str());
  std::string parents;
  for (std::string word; words >> word;) {
    if (word == "}") {
      parents.erase(parents.rfind('.', parents.size() - 2) + 1);
    } else if (word.back() == ':') {
      std::string value;
      words >> value;
      if (value[0] == '"') value = value.substr(1, value.size() - 2);
      fields_.push_back(std::make_pair(parents + word.substr(0, word.size() - 1), value));
    } else {
      fields_.push_back(std::make_pair(parents + word, ""));
      parents += word + '.';
      words >> word; /* the brace */
    }
  }
}

std::string Fields::word(const std::string& name, const std::string& otherwise) const {
  const std::string* found = find(name);
  return found ? *found : otherwise;
}

float Fields::number(const std::string& name, float otherwise) const {
  const std::string* found = find(name);
  return found ? strtof(found->c_str(), NULL) : otherwise;
}

int Fields::integer(const std::string& name, int otherwise) const {
  const std::string* found = find(name);
  return found ? atoi(found->c_str()) : otherwise;
}

bool Fields::flag(const std::string& name, bool otherwise) const {
  const std::string* found = find(name);
  return found ? *found == "true" || *found == "1" : otherwise;
}

std::vector<float> Fields::numbers(const std::string& name) const {
  std::vector<float> found;
  for (const auto& field : fields_)
    if (field.first == name) found.push_back(strtof(field.second.c_str(), NULL));
  return found;
}

void Fields::fill(const std::string& name, float otherwise, Blob* blob) const {
  caffe::FillerParameter filler;
  const std::string type = name + ".type";
  filler.set_type(word(type, "constant"));
  filler.set_value(number(name + ".value", has(type) ? 0.f : otherwise));
  filler.set_std(number(name + ".std", 1.f));
  boost::shared_ptr<caffe::Filler<float>>(caffe::GetFiller<float>(filler))->Fill(blob);
}

const std::string* Fields::find(const std::string& name) const {
  for (size_t i = fields_.size(); i-- > 0;)
    if (fields_[i].first == name) return &fields_[i].second;
  return NULL;
}

}  // namespace pibench

/* What a compiler's start files would bring: the library is linked without the host's. */
extern "C" {
__attribute__((visibility("hidden"))) void* __dso_handle = &__dso_handle;
}
