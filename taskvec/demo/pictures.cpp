#include "taskvec/core/files/atomic_file.h"
#include "taskvec/demo/study.h"

namespace taskvec::demo {
namespace {

std::filesystem::path stem_of(const std::filesystem::path& file) { return file.parent_path() / file.stem(); }

}  // namespace

void plot_coefficients(const std::filesystem::path& file, const std::string& title, const search::SearchResult& result,
                       const std::vector<std::string>& tasks, double floor, const std::string& control) {
  report::LinePlot plot;
  plot.title = title;
  plot.x_label = "coefficient";
  plot.y_label = "accuracy (val)";
  plot.x = axis(result);
  for (const std::string& task : tasks) {
    if (task == control) plot.levels.push_back({floor, "what the edit must keep", plot.series.size()});
    plot.series.push_back({task, curve(result, task)});
  }
  plot.chosen = result.trials[result.nearest].coefficients.front();
  report::write_picture(stem_of(file), plot);
}

void plot_cosines(const std::filesystem::path& file, const std::vector<std::string>& tasks,
                  const std::vector<std::vector<double>>& cosines) {
  report::HeatMap map;
  map.title = "Cosines of the task vectors";
  map.labels = tasks;
  map.matrix = cosines;
  map.value_label = "cosine";
  report::write_picture(stem_of(file), map);
}

void plot_answers(const std::filesystem::path& file, Study& study, const data::Task& task,
                  const std::vector<NamedModel>& models) {
  constexpr int64_t kTiles = 8;
  report::ImageStrip strip;
  strip.title = task.name + ": what the models say";
  const auto samples = data::open_dataset(task, data::Split::Test, study.options().test_limit);
  // One image of each class, the first, while there is room.
  std::vector<int64_t> chosen;
  std::vector<bool> seen(task.classes.size());
  for (int64_t i = 0; i < samples->size() && static_cast<int64_t>(chosen.size()) < kTiles; ++i) {
    if (seen[static_cast<size_t>(samples->label(i))]) continue;
    seen[static_cast<size_t>(samples->label(i))] = true;
    chosen.push_back(i);
  }
  for (const int64_t index : chosen) {
    const data::Image image = samples->image(index);
    strip.tiles.push_back(
        {image.height, image.width, image.channels, image.pixels, task.classes[static_cast<size_t>(samples->label(index))], {}});
  }
  for (const NamedModel& named : models) {
    strip.models.push_back(named.name);
    const eval::TaskResult result = study.test().evaluate(named.model->apply(named.coefficients), task);
    for (size_t t = 0; t < chosen.size(); ++t) {
      const auto answer = static_cast<size_t>(result.predictions[static_cast<size_t>(chosen[t])]);
      strip.tiles[t].answers.push_back({task.classes[answer], task.classes[answer] == strip.tiles[t].truth});
    }
  }
  report::write_picture(stem_of(file), strip);
}

}  // namespace taskvec::demo
