// The accelerator with its memory and its host: runs a program on images, one after another.
//
//   machine --memory FILE --size N --program N --images FILE --input N --input-bytes N
//           --output N --output-bytes N --writable RANGES --jobs FILE --out FOLDER
//           [--power-on SEED] [--timeout N] [--flip BIT] [--mutant N]
//
// --memory   what lies at the start of the memory map (the rest, up to --size, is 0)
// --images   the input regions of all images, --input-bytes each, that go to offset --input
// --writable "first-end,...": the bytes of the memory map that the machine may write
// --jobs     lines "image latency stall seed pause base": which image, how memory and host behave,
//            and where on the bus the memory map lies
// --power-on of the nonsense that is in all memories, and in the registers that no reset sets
// --flip     a negative control: this bit of the memory is inverted before the first run
// --mutant   another: the mutation that is alive (sim/mutants/schemata.py); 0 is none
//
// Built with Verilator's coverage of toggles it writes FOLDER/coverage.dat: those of the last run.
//
// Writes FOLDER/logits.bin (the output region after every run), FOLDER/result.json and, with trace
// ports, the files of recorder.h. Exit status 0: every run ended with `done`; 1: one failed, and
// result.json says why; 2: a mistake in the call.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>

#include "memory.h"
#include "recorder.h"
#include "registers.h"

using Bytes = std::vector<uint8_t>;

class Machine {
public:
    Machine(Memory memory, const std::string& folder, [[maybe_unused]] unsigned mutant)
        : memory(std::move(memory)), recorder(folder), folder(folder) {
#ifdef MUTANTS
        top.mutant = mutant;
#endif
        top.rst = 1;
        for (int n = 0; n < 4; n++) tick();
        top.rst = 0;
    }
    ~Machine() { top.final(); }

    void tick() {
        memory.drive(top);
        registers.drive(top);
        top.clk = 0;
        top.eval();
        if (!top.rst) {
            memory.sample(top);
            registers.sample(top);
            if (recording) recorder.sample(top);
        }
        top.clk = 1;
        top.eval();
        cycle++;
    }

    uint32_t read(unsigned offset) {
        registers.ask_read(offset);
        finish("read", offset);
        return registers.value();
    }
    void write(unsigned offset, uint32_t value) {
        registers.ask_write(offset, value);
        finish("write", offset);
    }
    uint64_t counter(unsigned n) {
        const uint64_t low = read(COUNTER + COUNTER_BYTES * n);
        return low | static_cast<uint64_t>(read(COUNTER + COUNTER_BYTES * n + 4)) << 32;
    }

    // From start to the interrupt; returns STATUS. Looks at STATUS now and then on the way.
    uint32_t run(uint64_t timeout) {
        const uint64_t begin = cycle;
        recording = true;
#if VM_COVERAGE
        Verilated::threadContextp()->coveragep()->zero();
#endif
        write(CONTROL, CONTROL_START);
        while (!top.irq) {
            tick();
            if (cycle - begin > timeout)
                throw Failure("no interrupt after " + std::to_string(timeout) + " cycles, " +
                              std::to_string(read(STATUS) >> STATUS_FETCHED_AT) +
                              " instructions fetched");
            if ((cycle - begin) % 4096 == 0) {
                const uint32_t status = read(STATUS);
                if ((status & STATUS_BUSY) == 0 && !top.irq)
                    throw Failure("stopped without an interrupt");
            }
        }
        recording = false;
        host_cycles = cycle - begin;
#if VM_COVERAGE  // how often each net changed in this run: sim/perf/energy.py
        Verilated::threadContextp()->coveragep()->write((folder + "/coverage.dat").c_str());
#endif
        return acknowledge();
    }

    // What was written must be there at the interrupt; the program may have been read beyond its end.
    void settle() {
        if (!memory.writes_quiet()) throw Failure("an interrupt with writes under way");
        const uint64_t limit = cycle + 100'000;
        while (!memory.quiet()) {
            if (cycle == limit) throw Failure("reads are not taken after the end");
            tick();
        }
    }

    Top top;
    Memory memory;
    Registers registers;
    Recorder recorder;
    std::string folder;
    uint64_t cycle = 0, host_cycles = 0;

private:
    // STATUS and IRQ_STATUS after an interrupt; clears it.
    uint32_t acknowledge() {
        const uint32_t status = read(STATUS), pending = read(IRQ_STATUS);
        const bool error = status & STATUS_ERROR;
        if (status & STATUS_BUSY) throw Failure("an interrupt while busy");
        if (bool(status & STATUS_DONE) == error ||
            pending != (error ? IRQ_STATUS_ERROR : IRQ_STATUS_DONE))
            throw Failure("STATUS " + std::to_string(status) + " and IRQ_STATUS " +
                          std::to_string(pending) + " do not agree");
        write(IRQ_STATUS, pending);
        tick();
        if (top.irq) throw Failure("the interrupt stays after it was cleared");
        return status;
    }
    void finish(const char* what, unsigned offset) {
        const uint64_t limit = cycle + 10'000;
        while (registers.busy()) {
            if (cycle == limit)
                throw Failure(std::string("AXI-Lite: no answer to a ") + what + " of register " +
                              std::to_string(offset));
            tick();
        }
    }
    bool recording = false;
};

struct Job {
    size_t image;
    Timing timing;
    uint64_t base;  // of the memory map, on the bus
};

// The result file is written run by run: JSON without a library.
class Result {
public:
    Result(const std::string& name) : file_(name) {
        if (!file_) throw std::runtime_error("cannot write " + name);
        file_ << "{\"runs\": [";
    }
    void run(const Job& job, Machine& machine, uint32_t status, const std::string& failure) {
        file_ << (first_ ? "\n" : ",\n") << "{\"failure\": ";
        if (failure.empty())
            file_ << "null";
        else
            file_ << '"' << failure << '"';
        first_ = false;
        file_ << ", \"instructions\": " << (status >> STATUS_FETCHED_AT)
              << ", \"host_cycles\": " << machine.host_cycles
              << ", \"memory_bytes_read\": " << machine.memory.bytes_read
              << ", \"memory_bytes_written\": " << machine.memory.bytes_written;
        file_ << ", \"counters\": {";
        if (failure.empty())
            for (unsigned n = 0; n < std::size(COUNTER_NAMES); n++)
                file_ << (n ? ", " : "") << '"' << COUNTER_NAMES[n]
                      << "\": " << machine.counter(n);
        file_ << '}';
        const Recorder& recorder = machine.recorder;
        file_ << ", \"trace\": {\"epilogue\": " << recorder.epilogue_count()
              << ", \"codes\": " << recorder.codes_count()
              << ", \"norm\": " << recorder.norm_count() << "}, \"array\": [";
        for (size_t gemm = 0; gemm < recorder.array.size(); gemm++) {
            file_ << (gemm ? ", [" : "[");
            for (int state = 0; state < 8; state++)
                file_ << (state ? ", " : "") << recorder.array[gemm][state];
            file_ << ']';
        }
        file_ << "]}";
    }
    void end(uint32_t shape, uint64_t cycles, double seconds) {
        file_ << "],\n\"shape\": " << shape << ", \"cycles\": " << cycles
              << ", \"seconds\": " << seconds << "}\n";
    }

private:
    std::ofstream file_;
    bool first_ = true;
};

class Options {
public:
    Options(int argc, char** argv) {
        for (int n = 1; n + 1 < argc; n += 2) values_[argv[n]] = argv[n + 1];
        if (argc % 2 == 0) throw std::invalid_argument(std::string(argv[argc - 1]) + " alone");
    }
    std::string text(const std::string& name) const {
        if (!values_.count(name)) throw std::invalid_argument(name + " is missing");
        return values_.at(name);
    }
    uint64_t number(const std::string& name) const { return std::stoull(text(name), nullptr, 0); }
    bool has(const std::string& name) const { return values_.count(name); }

private:
    std::map<std::string, std::string> values_;
};

static Bytes read_file(const std::string& name) {
    std::ifstream file(name, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + name);
    return Bytes(std::istreambuf_iterator<char>(file), {});
}

static std::vector<Job> read_jobs(const std::string& name) {
    std::ifstream file(name);
    std::vector<Job> jobs;
    Job job;
    while (file >> job.image >> job.timing.latency >> job.timing.stall >> job.timing.seed >>
           job.timing.pause >> job.base)
        jobs.push_back(job);
    if (!file.eof() || jobs.empty()) throw std::runtime_error(name + ": not a list of jobs");
    return jobs;
}

// "first-end,first-end,..."
static std::vector<Memory::Range> read_ranges(const std::string& text) {
    std::vector<Memory::Range> ranges;
    std::istringstream in(text);
    Memory::Range range;
    for (char dash, comma = ','; in >> range.first >> dash >> range.second; in >> comma)
        ranges.push_back(range);
    return ranges;
}

// All jobs on one machine, without a reset in between; returns whether all ended with `done`.
static bool run_all(const Options& options) {
    Bytes content = read_file(options.text("--memory"));
    const uint64_t size = options.number("--size");
    if (content.size() > size) throw std::invalid_argument("--memory is larger than --size");
    content.resize(size);
    if (options.has("--flip")) {
        const uint64_t bit = options.number("--flip");
        content.at(bit / 8) ^= 1 << bit % 8;
    }
    const Bytes images = read_file(options.text("--images"));
    const uint64_t input = options.number("--input"), input_bytes = options.number("--input-bytes");
    const uint64_t output = options.number("--output");
    const uint64_t output_bytes = options.number("--output-bytes");
    const uint64_t timeout = options.has("--timeout") ? options.number("--timeout") : 100'000'000;
    const std::string folder = options.text("--out");
    if (input + input_bytes > size || output + output_bytes > size)
        throw std::invalid_argument("--input or --output lies outside --size");

    const std::vector<Job> jobs = read_jobs(options.text("--jobs"));
    std::ofstream logits(folder + "/logits.bin", std::ios::binary);
    Result result(folder + "/result.json");
    // What is not set starts at random, and the same seed gives the same; 0 would be any.
    Verilated::threadContextp()->randReset(2);
    const uint64_t power_on = options.has("--power-on") ? options.number("--power-on") : 0;
    Verilated::threadContextp()->randSeed(static_cast<int>(power_on) + 1);
    const auto begin = std::chrono::steady_clock::now();
    const auto machine = std::make_unique<Machine>(
        Memory(std::move(content), read_ranges(options.text("--writable"))), folder,
        options.has("--mutant") ? options.number("--mutant") : 0);
    uint32_t shape = 0;
    bool good = true;
    for (const Job& job : jobs) {
        Memory& memory = machine->memory;
        if ((job.image + 1) * input_bytes > images.size())
            throw std::invalid_argument("no image " + std::to_string(job.image));
        std::copy_n(images.begin() + job.image * input_bytes, input_bytes,
                    memory.content.begin() + input);
        // so that logits left from the run before are never taken for this one's
        std::fill_n(memory.content.begin() + output, output_bytes, 0xA5);
        memory.reset(job.timing, job.base);
        machine->registers.reset(job.timing);
        machine->recorder.reset();
        uint32_t status = 0;
        std::string failure;
        try {
            shape = machine->read(SHAPE);
            machine->write(BASE, static_cast<uint32_t>(job.base));
            machine->write(BASE_HIGH, static_cast<uint32_t>(job.base >> 32));
            machine->write(SIZE, static_cast<uint32_t>(size));
            machine->write(PROGRAM, static_cast<uint32_t>(options.number("--program")));
            machine->write(IRQ_ENABLE, IRQ_ENABLE_DONE | IRQ_ENABLE_ERROR);
            status = machine->run(timeout);
            const unsigned code = (status & STATUS_CODE) >> STATUS_CODE_AT;
            if (status & STATUS_ERROR)
                failure = "the machine stopped with error " + std::to_string(code) + " " +
                          (code < std::size(ERROR_NAMES) ? ERROR_NAMES[code] : "that has no name");
            machine->settle();
        } catch (const Failure& problem) {
            if (failure.empty())
                failure = std::string(problem.what()) + " (cycle " +
                          std::to_string(machine->cycle) + ")";
        }
        result.run(job, *machine, status, failure);
        logits.write(reinterpret_cast<const char*>(memory.content.data()) + output, output_bytes);
        good = good && failure.empty();
        if (!good) break;  // the machine's state is of no use any more
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    result.end(shape, machine->cycle, seconds.count());
    return good;
}

int main(int argc, char** argv) {
    try {
        return run_all(Options(argc, argv)) ? 0 : 1;
    } catch (const std::exception& error) {
        std::cerr << "machine: " << error.what() << '\n';
        return 2;
    }
}
